"""Plugins by the names that users write: where they come from, what their hooks return."""

from auditor.registry.registry import COMMANDS, Registry, auditor_version, load_registry

__all__ = ["COMMANDS", "Registry", "auditor_version", "load_registry"]
