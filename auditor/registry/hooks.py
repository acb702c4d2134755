"""What a plugin offers: its hooks, called once, and whether what they return will do."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer

from auditor.errors import nearest
from auditor.maths.norms import Norm
from auditor.parameters import Spec
from auditor.protocols import hookspecs
from auditor.protocols.attack import spec_of
from auditor.protocols.check import check_spec_of
from auditor.protocols.events import Sink
from auditor.protocols.hookspecs import API_VERSION, Profile
from auditor.protocols.reporting import Reporter, Section
from auditor.protocols.tracking import TrackerSpec
from auditor.schema.audit import TABLES
from auditor.surrogate import SurrogateMaker

_MARK = f"{hookspecs.PROJECT}_impl"
_PREFIX = f"{hookspecs.PROJECT}_"
_NAME = re.compile(r"[^\W_][\w.+-]*")


class PluginFaultError(Exception):
    """What is wrong with a plugin, and what to do about it."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True)
class Offer:
    """One thing a plugin's hook returned; `kind` is the registry's field it belongs to."""

    kind: str
    name: str
    value: Any


@dataclass(frozen=True)
class Hook:
    """Where a hook's results belong.

    Attributes:
        kind: the registry's field.
        word: what users call one.
        vet: the name and value to keep of one result; raises for one that will not do.
    """

    kind: str
    word: str
    vet: Callable[[Any], tuple[str, Any]]


def offers_of(plugin: object) -> list[Offer]:
    """Everything that a plugin offers.

    Raises:
        PluginFaultError: it is not as a plugin has to be. Beside that, whatever its hooks raise.
    """
    _check_version(getattr(plugin, "AUDITOR_API", None))
    offers = [
        _offer(hook, function.__name__, item)
        for hook, function in _hooks(plugin)
        for item in _results(function)
    ]
    if not offers:
        raise PluginFaultError(
            "it offers nothing: it has no hook, or all return []",
            f"a hook is a function such as {_PREFIX}attacks, marked @hookimpl, that returns a list",
        )
    return offers


def _check_version(wanted: Any) -> None:
    """Refuse a plugin that says it was written for another version of `auditor.api`."""
    if wanted is None:
        return
    pair = isinstance(wanted, tuple) and len(wanted) == 2
    if not pair or not all(type(part) is int for part in wanted):
        raise PluginFaultError(
            f"its AUDITOR_API is {wanted!r}", "write (major, minor): AUDITOR_API = (1, 0)"
        )
    if wanted[0] == API_VERSION[0] and wanted <= API_VERSION:
        return
    needed, own = (".".join(map(str, version)) for version in (wanted, API_VERSION))
    if wanted > API_VERSION:
        remedy = "upgrade auditor, or install an older version of the plugin"
    else:
        remedy = "install a newer version of the plugin, or an older auditor"
    raise PluginFaultError(
        f"it needs version {needed} of auditor.api, and this auditor has {own}", remedy
    )


def _hooks(plugin: object) -> Iterator[tuple[Hook, Callable[..., Any]]]:
    """The plugin's hooks, in the order of `HOOKS`. Misspelt and unmarked ones are refused."""
    found = {name: getattr(plugin, name) for name in dir(plugin)}
    marked = {
        name for name, value in found.items()
        if inspect.isroutine(value) and getattr(value, _MARK, None) is not None
    }  # fmt: skip
    for name in sorted(marked - HOOKS.keys()):
        close = nearest(name, HOOKS)
        remedy = f"did you mean {close}?" if close else f"hooks are: {', '.join(HOOKS)}"
        raise PluginFaultError(f"there is no hook called {name}", remedy)
    for name in sorted(HOOKS.keys() & found.keys() - marked):
        raise PluginFaultError(f"{name} is not marked", f"write @hookimpl above def {name}")
    for name, hook in HOOKS.items():
        if name in marked:
            yield hook, found[name]


def _results(function: Callable[..., Any]) -> list[Any]:
    """What a hook returns."""
    if inspect.signature(function).parameters:
        raise PluginFaultError(
            f"{function.__name__} takes arguments", f"write def {function.__name__}():"
        )
    found = function()
    if isinstance(found, (str, bytes)) or not hasattr(found, "__iter__"):
        raise PluginFaultError(
            f"{function.__name__} returned {_type_of(found)}", "return a list, even of one"
        )
    return list(found)


def _offer(hook: Hook, function: str, item: Any) -> Offer:
    try:
        name, value = hook.vet(item)
    except TypeError as error:
        raise PluginFaultError(f"{function}: {error}") from error
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginFaultError(
            f"{function}: {name!r} cannot be a name",
            "begin with a letter or digit, go on with these and . _ + -",
        )
    return Offer(hook.kind, name, value)


def _attack(item: Any) -> tuple[str, Any]:
    return _vetted(spec_of(item), "attack")


def _check(item: Any) -> tuple[str, Any]:
    return _vetted(check_spec_of(item), "check")


def _vetted(spec: Spec, table: str) -> tuple[str, Any]:
    """A class whose fields can be keys of a table of audit.toml beside the table's own."""
    taken = TABLES[table].model_fields.keys() - {"kwargs"}  # those of a model are its loader's
    for parameter in spec.parameters:  # a field of unknown type is told now, and not in a run
        if parameter.name in taken:
            raise TypeError(f"{spec.name!r} cannot have a parameter called {parameter.name!r}")
    return spec.name, spec


def _data(item: Any) -> tuple[str, Any]:
    spec = getattr(item, "data_spec", None)
    if not isinstance(spec, Spec):
        raise TypeError(f"{item!r} is not a data adapter: decorate it with @data_adapter(...)")
    return _vetted(spec, "data")


def _model(item: Any) -> tuple[str, Any]:
    spec = getattr(item, "model_spec", None)
    if not isinstance(spec, Spec):
        raise TypeError(f"{item!r} is not a model loader: decorate it with @model_loader(...)")
    return _vetted(spec, "model")


def _tracker(item: Any) -> tuple[str, Any]:
    spec = getattr(item, "tracker_spec", None)
    if not isinstance(spec, TrackerSpec):
        raise TypeError(f"{item!r} is not a tracker: decorate it with @tracker(...)")
    return _vetted(spec, "track")


def _norm(item: Any) -> tuple[str, Any]:
    if isinstance(item, type) or not isinstance(item, Norm):
        raise TypeError(
            f"{item!r} is not a norm: return an instance with `name`, `distance`, `project`, "
            "`sample` and `steepest`"
        )
    return item.name, item


def _command(item: Any) -> tuple[str, Any]:
    name = getattr(getattr(item, "info", None), "name", None)
    if not isinstance(item, typer.Typer) or not isinstance(name, str):
        raise TypeError(f'{item!r} is not a command: return a typer.Typer(name="...")')
    typer.main.get_command(item)  # raises for one that has nothing to run
    return name, item


def _instance(cls: type, said: str) -> Callable[[Any], tuple[str, Any]]:
    """Vets things that are of a class of ours, and have a name."""

    def vet(item: Any) -> tuple[str, Any]:
        if not isinstance(item, cls):
            raise TypeError(f"{item!r} is not {said}")
        return item.name, item  # type: ignore[attr-defined]

    return vet


def _type_of(value: Any) -> str:
    return "None" if value is None else type(value).__name__


#: Every hook of `hookspecs`, and what becomes of its results.
HOOKS: dict[str, Hook] = {
    "auditor_attacks": Hook("attacks", "attack", _attack),
    "auditor_checks": Hook("checks", "check", _check),
    "auditor_data": Hook("data", "data adapter", _data),
    "auditor_models": Hook("models", "model loader", _model),
    "auditor_profiles": Hook("profiles", "profile", _instance(Profile, "a Profile")),
    "auditor_norms": Hook("norms", "norm", _norm),
    "auditor_surrogates": Hook(
        "surrogates",
        "surrogate",
        _instance(SurrogateMaker, "a surrogate: decorate it with @surrogate(...)"),
    ),
    "auditor_reports": Hook(
        "reports",
        "report format",
        _instance(Reporter, "a report format: decorate it with @reporter(...)"),
    ),
    "auditor_sections": Hook(
        "sections", "section", _instance(Section, "a section: decorate it with @section(...)")
    ),
    "auditor_sinks": Hook("sinks", "sink", _instance(Sink, "a sink: decorate it with @sink(...)")),
    "auditor_trackers": Hook("trackers", "tracker", _tracker),
    "auditor_commands": Hook("commands", "command", _command),
}
#: What users call one of each kind.
WORDS = {hook.kind: hook.word for hook in HOOKS.values()}
