"""Where plugins come from: built-in modules, entry points, and what a user names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType

from auditor.usercode.neighbours import import_file
from auditor.usercode.reachable import code_files

DISTRIBUTION = "robustness-auditor"
BUILT_IN = "built-in"
_BUILT_INS = "auditor_plugins"
_ENTRY_POINTS = "auditor"


def auditor_version() -> str:
    """The installed version of this tool."""
    return metadata.version(DISTRIBUTION)


@dataclass(frozen=True)
class PluginSource:
    """Where a plugin comes from, before it is imported.

    Attributes:
        distribution: the installed package that an entry point belongs to, if any.
        named: whether the user asked for it, in [plugins] paths or by -p.
        file: its module; of a package, `__init__.py`.
    """

    name: str
    origin: str
    version: str
    load: Callable[[], object]
    file: Path | None
    distribution: str = ""
    named: bool = False

    @cached_property
    def _code(self) -> bytes:
        """Of a package all its modules; of a file those beside it too; empty if not to be read."""
        if self.file is None or not self.file.is_file():
            return b""
        package = self.file.name == "__init__.py"
        alone = code_files(self.file) if self.named else [self.file]
        files = sorted(self.file.parent.rglob("*.py")) if package else alone
        try:
            return b"".join(one.read_bytes() for one in files)
        except OSError:
            return b""

    @cached_property
    def sha256(self) -> str:
        """Of its code, and for a file of what it imports from beside it; empty without code."""
        return hashlib.sha256(self._code).hexdigest() if self._code else ""

    def mentions(self, name: str) -> bool:
        """Whether its code has `name` in quotes, as that of a plugin which offers it would."""
        return any(f"{quote}{name}{quote}".encode() in self._code for quote in "\"'")


def is_file(text: str) -> bool:
    """Whether a user who names a plugin so means a file, and not a module."""
    return text.endswith(".py") or "/" in text or "\\" in text


def sources(named: Sequence[Path | str]) -> Iterator[PluginSource]:
    """Built-in modules, then entry points, then files and modules as `named`, in their order."""
    package = importlib.import_module(_BUILT_INS)
    for info in pkgutil.iter_modules(package.__path__):
        name = f"{_BUILT_INS}.{info.name}"
        file = _file_of(name)
        yield PluginSource(info.name, BUILT_IN, auditor_version(), _importer(name), file)
    for entry in metadata.entry_points(group=_ENTRY_POINTS):
        dist = entry.dist
        origin = f"{dist.name} (entry point {entry.name} = {entry.value})" if dist else entry.value
        # Of the package around it: to look for a module inside would import the package.
        file = _file_of(entry.module.partition(".")[0])
        version, distribution = (dist.version, dist.name) if dist else ("", "")
        yield PluginSource(entry.name, origin, version, entry.load, file, distribution)
    for one in named:
        if isinstance(one, Path):
            load = partial(import_plugin, one)
            yield PluginSource(one.stem, one.name, "", load, one, named=True)
        else:
            file = _file_of(one.partition(".")[0])
            yield PluginSource(one, f"module {one}", "", _importer(one), file, named=True)


def _importer(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(name)


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


def import_plugin(path: Path) -> ModuleType:
    """The plugin in a file, with what lies beside it, as a model's file is imported.

    Raises:
        FileNotFoundError: there is no such file. Besides, whatever its code raises.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return import_file(path, f"plugin {path}", anew=True)
