"""Drafts an audit.toml for a model and data that it has looked at."""
