"""The command line: thin commands over the rooms below."""

from __future__ import annotations

from auditor.lazy import import_on_first_use

# Describing plugins and checking a configuration need neither, and must not wait for them.
import_on_first_use("torch")
import_on_first_use("numpy")

from auditor.cli.app import app  # noqa: E402 (the lines above have to come first)


def main() -> None:
    """The console script `auditor`."""
    app()


__all__ = ["app", "main"]
