"""A stand-in: checking a configuration never runs it."""
