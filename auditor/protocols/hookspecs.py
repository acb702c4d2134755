"""What a plugin may implement.

Every hook is optional, takes nothing, returns a list, and is called once: when the plugin is
loaded. `docs/plugins.md` describes each with an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pluggy
import typer

from auditor.maths.norms import Norm
from auditor.protocols.events import Sink
from auditor.protocols.reporting import Reporter, Section
from auditor.surrogate import SurrogateMaker

PROJECT = "auditor"

#: (major, minor) of `auditor.api`: minor grows with additions, major when something is taken away
#: or changes its meaning.
API_VERSION = (1, 0)

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
    """Attack classes decorated with `@attack(...)`, found by `use` in [[attack]]."""


@hookspec
def auditor_checks() -> Sequence[type]:  # type: ignore[empty-body]
    """Check classes decorated with `@check(...)`, found by `use` in [[check]]."""


@hookspec
def auditor_data() -> Sequence[type]:  # type: ignore[empty-body]
    """Data adapter classes decorated with `@data_adapter(...)`, found by `adapter` in [data]."""


@hookspec
def auditor_models() -> Sequence[type]:  # type: ignore[empty-body]
    """Model loader classes decorated with `@model_loader(...)`, found by `loader` in [[model]]."""


@hookspec
def auditor_profiles() -> Sequence[Profile]:  # type: ignore[empty-body]
    """Profiles, found by `profile = "name"`."""


@hookspec
def auditor_norms() -> Sequence[Norm]:  # type: ignore[empty-body]
    """Instances of classes with the methods of `Norm`, found by `norm` in [[threat]]."""


@hookspec
def auditor_surrogates() -> Sequence[SurrogateMaker]:  # type: ignore[empty-body]
    """Functions decorated with `@surrogate(...)`, found by `surrogate` in [[attack]]."""


@hookspec
def auditor_reports() -> Sequence[Reporter]:  # type: ignore[empty-body]
    """Functions decorated with `@reporter(...)`, found by `formats` in [report]."""


@hookspec
def auditor_sections() -> Sequence[Section]:  # type: ignore[empty-body]
    """Functions decorated with `@section(...)`: further sections of the HTML and PDF report."""


@hookspec
def auditor_sinks() -> Sequence[Sink]:  # type: ignore[empty-body]
    """Functions decorated with `@sink(...)`, called with every event of `auditor run`."""


@hookspec
def auditor_trackers() -> Sequence[type]:  # type: ignore[empty-body]
    """Tracker classes decorated with `@tracker(...)`, found by `use` in [[track]]."""


@hookspec
def auditor_commands() -> Sequence[typer.Typer]:  # type: ignore[empty-body]
    """Typer applications with a `name`: the commands `auditor NAME ...`."""
