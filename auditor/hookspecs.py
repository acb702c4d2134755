"""What a plugin may implement. Every hook is optional, and is called once: on loading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy

PROJECT = "auditor"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class Profile:
    """A fixed, versioned battery: what runs when audit.toml names no attacks, or no checks.

    Attributes:
        name: what users write after `profile =`.
        version: grows with every change of `attacks` or `checks`.
        attacks: as in audit.toml: one dict per [[attack]] with `use` and parameters.
        checks: likewise, in the order they are run.
    """

    name: str
    version: int
    attacks: Sequence[dict[str, Any]] = field(default_factory=tuple)
    checks: Sequence[dict[str, Any]] = field(default_factory=tuple)


@hookspec
def auditor_attacks() -> Sequence[type]:  # type: ignore[empty-body]
    """Attack classes decorated with `@attack(...)`."""


@hookspec
def auditor_checks() -> Sequence[type]:  # type: ignore[empty-body]
    """Check classes decorated with `@check(...)`."""


@hookspec
def auditor_data() -> Sequence[type]:  # type: ignore[empty-body]
    """Data adapter classes decorated with `@data_adapter(...)`."""


@hookspec
def auditor_profiles() -> Sequence[Profile]:  # type: ignore[empty-body]
    """Profiles, found by `profile = "name"`."""
