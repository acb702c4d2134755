"""Plugins: loaded, broken with the fault, blocked."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.doctor.proof import Proof
from auditor.registry import Registry
from auditor.registry.plugin_sources import DISTRIBUTION
from auditor.results import PluginRecord

AREA = "Plugins"
_BUILT_IN = "built-in"


def plugins(registry: Registry) -> Iterator[Proof]:
    """A line for the built-in plugins, one for each other, one for each that is broken."""
    loaded = [record for record in registry.plugins if record.status == "loaded"]
    own = sum(record.origin == _BUILT_IN for record in loaded)
    yield Proof(
        AREA,
        "ok",
        f"{own} built-in plugins are loaded: {len(registry.attacks)} attacks, "
        f"{len(registry.checks)} checks, {len(registry.data)} data adapters",
    )
    for record in registry.plugins:
        if record.status == "broken":
            yield _broken(record)
        elif record.status == "blocked":
            yield Proof(AREA, "ok", f"{record.name} is blocked: {record.detail}")
        elif record.origin != _BUILT_IN:
            yield Proof(AREA, "ok", f"{record.name} is loaded: {_origin(record)}")


def _origin(record: PluginRecord) -> str:
    return f"{record.version} from {record.origin}" if record.version else record.origin


def _broken(record: PluginRecord) -> Proof:
    own = record.origin == _BUILT_IN
    remedy = (
        f"mend what it needs (see Environment above), or install {DISTRIBUTION} again"
        if own
        else f'mend, update or uninstall it, or leave it out with disable = ["{record.name}"] in '
        "[plugins]"
    )
    return Proof(
        AREA,
        "failed",
        f"The plugin {record.name} is broken: {' '.join(record.detail.split())}",
        where=_origin(record),
        expected="a module that imports, with hooks marked @hookimpl",
        remedy=remedy,
    )
