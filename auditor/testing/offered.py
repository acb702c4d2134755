"""What a plugin offers, and instances of it to try."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor.errors import LoadError
from auditor.parameters import Spec
from auditor.registry import Registry, load_registry
from auditor.registry.hooks import WORDS, PluginFaultError, offers_of
from auditor.registry.plugin_sources import import_plugin, is_file
from auditor.usercode.calls import blamed, raised_by_user_code

#: Parameters by the name of what has them.
Parameters = Mapping[str, Mapping[str, Any]]


def load_plugin(name: str) -> ModuleType:
    """The module of a plugin: a file, a module's name, or what an installed plugin is called.

    Raises:
        LoadError: there is no such plugin, or it cannot be imported.
    """
    for entry in metadata.entry_points(group="auditor"):
        if entry.name == name:
            name = entry.module
    with raised_by_user_code(
        name,
        "importing the plugin",
        "a file such as my_attack.py, or a module that is installed",
        "mend the line above, or install the package (pip install -e .)",
    ):
        return import_plugin(Path(name)) if is_file(name) else importlib.import_module(name)


@dataclass(frozen=True)
class Offered:
    """An attack, check or data adapter, and the parameters to try it with."""

    #: "attack", "check" or "data adapter".
    kind: str
    spec: Spec
    parameters: Mapping[str, Any]
    registry: Registry

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.kind} {self.spec.name!r}"

    @cached_property
    def made(self) -> Any:
        """With the parameters given, and defaults for the others."""
        return self.variant()

    def variant(self, **changes: Any) -> Any:
        """The same with other values of some parameters.

        Raises:
            pydantic.ValidationError: a parameter is missing, unknown, or has an impossible value.
        """
        return self.spec.build({**self.parameters, **changes})

    def has(self, parameter: str) -> bool:
        """Whether users may write such a key."""
        return any(one.name == parameter for one in self.spec.parameters)


#: What the kit has properties for, by the registry's word.
_KINDS = ("attacks", "checks", "data")


def offers_in(module: ModuleType, parameters: Parameters) -> Iterator[Offered]:
    """All that the hooks of a module offer and the kit can try, in their order.

    They are read as an audit reads them, and what else the module offers, such as a norm of its
    own, is known to them.

    Raises:
        LoadError: an audit would refuse it, it offers nothing that the kit can try, or `parameters`
            names what is not there.
    """
    try:
        offers = offers_of(module)
    except PluginFaultError as fault:
        raise _refused(module, str(fault), fault.remedy) from fault
    except Exception as error:  # hooks are the author's code
        raise _refused(module, blamed(error)) from error
    tried = [offer for offer in offers if offer.kind in _KINDS]
    if not tried:
        raise _refused(module, "it offers neither an attack nor a check nor a data adapter")
    unknown = parameters.keys() - {offer.name for offer in tried}
    if unknown:
        raise _refused(module, f"it offers nothing called {sorted(unknown)[0]!r}")
    registry = load_registry()
    for offer in offers:
        getattr(registry, offer.kind).setdefault(offer.name, offer.value)
    for offer in tried:
        spec, given = offer.value, parameters.get(offer.name, {})
        yield Offered(WORDS[offer.kind], spec, given, registry)


def _refused(module: ModuleType, why: str, remedy: str = "") -> LoadError:
    return LoadError(
        f"The plugin's offer cannot be read: {why}.",
        where=module.__name__,
        expected="functions auditor_attacks, auditor_checks or auditor_data, marked @hookimpl, "
        "that return lists of decorated classes",
        remedy=remedy or "see docs/writing-a-plugin.md",
    )
