"""Finds, vets and names plugins. A broken one is recorded, never fatal, never silent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import typer

from auditor.errors import raised_at, told
from auditor.maths.norms import NORMS, Norm
from auditor.parameters import Spec
from auditor.protocols.attack import AttackSpec
from auditor.protocols.check import CheckSpec
from auditor.protocols.events import Sink
from auditor.protocols.hookspecs import Profile
from auditor.protocols.reporting import Reporter, Section
from auditor.protocols.tracking import TrackerSpec
from auditor.registry.hooks import WORDS, Offer, PluginFaultError, offers_of
from auditor.registry.plugin_sources import PluginSource, auditor_version, sources
from auditor.report import FORMATS
from auditor.results import PluginRecord
from auditor.surrogate import SurrogateMaker

__all__ = ["Registry", "auditor_version", "load_registry"]

#: The commands of the command line itself, those to come included.
COMMANDS = ("run", "init", "validate", "doctor", "list", "show", "report", "gate", "compare",
            "verify", "export", "merge", "plugin", "selftest", "schema")  # fmt: skip
#: What no plugin may be called, by the kind of what it offers.
_RESERVED = {
    "norms": {norm.name for norm in NORMS},
    "reports": set(FORMATS),
    "commands": set(COMMANDS),
}


@dataclass
class Registry:
    """What is available, by the names users write, and a record of every plugin that was seen."""

    attacks: dict[str, AttackSpec] = field(default_factory=dict)
    checks: dict[str, CheckSpec] = field(default_factory=dict)
    data: dict[str, Spec] = field(default_factory=dict)
    models: dict[str, Spec] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=lambda: {norm.name: norm for norm in NORMS})
    surrogates: dict[str, SurrogateMaker] = field(default_factory=dict)
    #: Those of plugins, beside `auditor.report.FORMATS`.
    reports: dict[str, Reporter] = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)
    sinks: dict[str, Sink] = field(default_factory=dict)
    trackers: dict[str, TrackerSpec] = field(default_factory=dict)
    commands: dict[str, typer.Typer] = field(default_factory=dict)
    plugins: list[PluginRecord] = field(default_factory=list)
    #: Which plugin offered what, by (kind, name).
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    #: sha256 of the code of that plugin; two plugins may have one name, such as two files.
    hashes: dict[tuple[str, str], str] = field(default_factory=dict)
    #: What `disable` left out.
    blocked: set[str] = field(default_factory=set)
    #: What plugins raised that could not be loaded, where it was their own code.
    raised: list[tuple[PluginRecord, BaseException]] = field(default_factory=list)
    _broken: list[tuple[PluginRecord, PluginSource]] = field(default_factory=list)

    @property
    def broken(self) -> list[PluginRecord]:
        """The plugins that could not be loaded."""
        return [record for record in self.plugins if record.status == "broken"]

    @property
    def signed_sections(self) -> list[tuple[Section, str]]:
        """The sections of reports, each with the name of its plugin."""
        return [(one, self.origins["sections", name]) for name, one in self.sections.items()]

    def suspects(self, name: str) -> list[PluginRecord]:
        """The broken plugins whose code names `name`, and so would probably have offered it."""
        return [record for record, source in self._broken if source.mentions(name)]

    def note(self, plugin: str, detail: str) -> None:
        """Record what became of a plugin after it was loaded."""
        self.plugins = [
            replace(record, detail="; ".join(filter(None, (record.detail, detail))))
            if (record.name, record.status) == (plugin, "loaded")
            else record
            for record in self.plugins
        ]

    def add(self, source: PluginSource, offers: Sequence[Offer], disable: Collection[str]) -> None:
        """Take in all that one plugin offers, or raise and take in nothing.

        Raises:
            PluginFaultError: a name is taken.
        """
        new: set[tuple[str, str]] = set()
        for offer in offers:
            key = (offer.kind, offer.name)
            taken = self.origins.get(key, source.name if key in new else "")
            if taken or offer.name in _RESERVED.get(offer.kind, ()):
                by = f"by plugin {taken!r}" if taken else "by auditor itself"
                raise PluginFaultError(
                    f"{WORDS[offer.kind]} name {offer.name!r} is already taken {by}",
                    "give it another name, or leave one of the two plugins out",
                )
            new.add(key)
        for offer in offers:
            if offer.name in disable:
                self.blocked.add(offer.name)
            else:
                getattr(self, offer.kind)[offer.name] = offer.value
                self.origins[offer.kind, offer.name] = source.name
                self.hashes[offer.kind, offer.name] = source.sha256


def load_registry(named: Sequence[Path | str] = (), disable: Collection[str] = ()) -> Registry:
    """Load built-in, installed and named plugins.

    Args:
        named: files, or names of modules, of plugins to load beside the installed ones.
        disable: names of plugins, or of what they offer, to leave out.
    """
    registry = Registry()
    loaded: list[tuple[object, str]] = []
    for source in sources(named):
        if source.name in disable:
            registry.blocked.add(source.name)
            why = "disabled by [plugins] disable"
            registry.plugins.append(_record(source, "blocked", why))
            continue
        try:
            plugin = source.load()
            before = next((name for other, name in loaded if other is plugin), "")
            if not before:
                registry.add(source, offers_of(plugin), disable)
                loaded.append((plugin, source.name))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything at all, SystemExit included
            record = _record(source, "broken", _told(error), _remedy(error, source))
            registry.plugins.append(record)
            registry._broken.append((record, source))
            if not isinstance(error, PluginFaultError):
                registry.raised.append((record, error))
        else:
            twice = f"the same as plugin {before!r}, loaded before" if before else ""
            registry.plugins.append(_record(source, "loaded", twice))
    return registry


def _told(error: BaseException) -> str:
    if isinstance(error, PluginFaultError):
        return str(error)
    return told(error)


def _remedy(error: BaseException, source: PluginSource) -> str:
    """What to do about a plugin that cannot be loaded."""
    if isinstance(error, PluginFaultError) and error.remedy:
        return error.remedy
    return "; or ".join(_ways_out(error, source))


def _ways_out(error: BaseException, source: PluginSource) -> Iterator[str]:
    if isinstance(error, ModuleNotFoundError) and error.name:
        yield f"install what provides {error.name.partition('.')[0]!r}"
    elif isinstance(error, ImportError) and error.name == "auditor.api":
        yield "upgrade auditor, or install the version of the plugin that was made for this one"
    else:
        place = raised_at(error)
        yield f"mend it, at {place}" if place else "mend it"
    if source.distribution:
        yield f"pip uninstall {source.distribution}"
    if not source.named:
        yield f'leave it out: disable = ["{source.name}"] in [plugins]'


def _record(
    source: PluginSource,
    status: Literal["loaded", "blocked", "broken"],
    detail: str,
    remedy: str = "",
) -> PluginRecord:
    return PluginRecord(
        source.name, source.origin, source.version, source.sha256, status, detail, remedy
    )
