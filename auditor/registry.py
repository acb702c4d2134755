"""Finds, vets and names plugins. A broken one is recorded, never fatal, never silent."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

from auditor import hookspecs
from auditor.attack import AttackSpec, spec_of
from auditor.checks import CheckSpec, check_spec_of
from auditor.hookspecs import Profile
from auditor.results import PluginRecord
from auditor.spec import Spec
from auditor.threat import NORMS, Norm

DISTRIBUTION = "robustness-auditor"
_BUILT_INS = "auditor_plugins"
_ENTRY_POINTS = "auditor"


def auditor_version() -> str:
    """The installed version of this tool."""
    return metadata.version(DISTRIBUTION)


@dataclass(frozen=True)
class _Source:
    """Where a plugin comes from, before it is imported."""

    name: str
    origin: str
    version: str
    load: Callable[[], ModuleType]
    file: Path | None


@dataclass
class Registry:
    """What is available, by the names users write, and a record of every plugin that was seen."""

    attacks: dict[str, AttackSpec] = field(default_factory=dict)
    checks: dict[str, CheckSpec] = field(default_factory=dict)
    data: dict[str, Spec] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=lambda: {norm.name: norm for norm in NORMS})
    plugins: list[PluginRecord] = field(default_factory=list)
    #: Which plugin offered what, by (kind, name).
    origins: dict[tuple[str, str], str] = field(default_factory=dict)
    #: What `disable` left out.
    blocked: set[str] = field(default_factory=set)

    @property
    def broken(self) -> list[PluginRecord]:
        """The plugins that could not be loaded."""
        return [record for record in self.plugins if record.status == "broken"]

    def add(self, plugin: str, offers: Sequence[_Offer], disable: Collection[str]) -> None:
        """Take in all that one plugin offers, or raise and take in nothing.

        Raises:
            ValueError: a name is taken by another plugin.
        """
        for offer in offers:
            taken = self.origins.get((offer.kind, offer.name))
            if taken is not None:
                raise ValueError(
                    f"{offer.kind[:-1]} name {offer.name!r} is already taken by plugin {taken!r}"
                )
        for offer in offers:
            if offer.name in disable:
                self.blocked.add(offer.name)
            else:
                getattr(self, offer.kind)[offer.name] = offer.value
                self.origins[offer.kind, offer.name] = plugin


@dataclass(frozen=True)
class _Offer:
    """One thing a plugin's hook returned; `kind` is the registry's field it belongs to."""

    kind: str
    name: str
    value: Any


def load_registry(paths: Sequence[Path] = (), disable: Collection[str] = ()) -> Registry:
    """Load built-in, installed and named plugins.

    Args:
        paths: files of plugins to load beside the installed ones.
        disable: names of plugins, or of what they offer, to leave out.
    """
    registry, manager = Registry(), pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for source in _sources(paths):
        if source.name in disable:
            registry.blocked.add(source.name)
            registry.plugins.append(_record(source, "blocked", "disabled by [plugins] disable"))
            continue
        try:
            module = source.load()
            registry.add(source.name, _offers(manager, module), disable)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may raise anything at all, SystemExit included
            detail = f"{type(error).__name__}: {error}"
            registry.plugins.append(_record(source, "broken", detail))
        else:
            registry.plugins.append(_record(source, "loaded", ""))
    return registry


def _sources(paths: Sequence[Path]) -> Iterator[_Source]:
    """Built-in modules, then entry points, then files."""
    package = importlib.import_module(_BUILT_INS)
    for info in pkgutil.iter_modules(package.__path__):
        name = f"{_BUILT_INS}.{info.name}"
        yield _Source(info.name, "built-in", auditor_version(), _importer(name), _file_of(name))
    for entry in metadata.entry_points(group=_ENTRY_POINTS):
        dist = entry.dist
        origin = f"{dist.name} (entry point {entry.name} = {entry.value})" if dist else entry.value
        version = dist.version if dist else ""
        yield _Source(entry.name, origin, version, entry.load, _file_of(entry.module))
    for path in paths:
        yield _Source(path.stem, path.name, "", _file_loader(path), path)


def _importer(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(name)


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _file_loader(path: Path) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        # A private name, so that a plugin called torch.py shadows nothing.
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
        name = f"_auditor_plugin_{path.stem}_{digest}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path.name} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up by name
        spec.loader.exec_module(module)
        return module

    return load


def _offers(manager: pluggy.PluginManager, module: ModuleType) -> list[_Offer]:
    """Call the module's hooks. Raises whatever they raise, and for a misspelt hook."""
    manager.register(module, module.__name__)
    try:
        manager.check_pending()
        offers = [
            _offer(caller.name, item)
            for caller in manager.get_hookcallers(module) or []
            for implementation in caller.get_hookimpls()
            if implementation.plugin is module
            for item in _call(implementation)
        ]
    except BaseException:
        manager.unregister(module)
        raise
    if not offers:
        raise ValueError("it offers nothing: no hook is marked with @hookimpl, or all return []")
    return offers


def _call(implementation: pluggy.HookImpl) -> Iterable[Any]:
    return implementation.function()  # type: ignore[return-value]


def _offer(hook: str, item: Any) -> _Offer:
    if hook == "auditor_attacks":
        spec = spec_of(item)
        _ = spec.parameters  # a field of unknown type is the plugin's fault, and told now
        return _Offer("attacks", spec.name, spec)
    if hook == "auditor_checks":
        check = check_spec_of(item)
        _ = check.parameters
        return _Offer("checks", check.name, check)
    if hook == "auditor_data":
        if not isinstance(getattr(item, "data_spec", None), Spec):
            raise TypeError(f"{item!r} is not a data adapter: decorate it with @data_adapter(...)")
        return _Offer("data", item.data_spec.name, item.data_spec)
    if not isinstance(item, Profile):
        raise TypeError(f"{item!r} is not a Profile")
    return _Offer("profiles", item.name, item)


def _record(
    source: _Source, status: Literal["loaded", "blocked", "broken"], detail: str
) -> PluginRecord:
    sha256 = _sha256(source.file) if source.file is not None and source.file.is_file() else ""
    return PluginRecord(source.name, source.origin, source.version, sha256, status, detail)


def _sha256(file: Path) -> str:
    """Of a plugin's file; of a package's, all of its modules."""
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()
