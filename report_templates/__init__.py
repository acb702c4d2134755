"""Jinja templates and style sheet of the report; loaded through importlib.resources."""
