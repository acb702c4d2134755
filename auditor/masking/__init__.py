"""Checks at work on a model, and the verdict on what they and the attacks found."""
