"""Imports a Python file of the user's together with what lies beside it, apart from all others.

Two models may each have a `layers.py` beside them. So every file that a configuration names is
imported as a member of a private package: the modules beside it become members of that package
too, under names that no other file's modules have, and `import layers` in any of them, at the top
or in a function that runs later, means the package's own. That is done by the `__import__` which
Python looks up in a module's `__builtins__`; no other module of the process notices.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_PRIVATE = "_audited_"
_HOME = "__neighbours__"
#: There is one of each in a process, whatever lies beside a file.
_SHARED = frozenset(
    {"auditor", "auditor_plugins", "auditor_report_templates", "numpy", "torch", "torchvision"}
)
_INSTALLED = ("site-packages", "dist-packages")
_ANCESTORS = 4


def import_file(file: Path, owner: str = "", *, anew: bool = False) -> ModuleType:
    """The module in a file; what it imports from beside it is its own.

    A file in a package (a folder with `__init__.py`) is imported as a part of it. Modules beside it
    are found in its own folder, then where its package lies, then in what its code adds to
    `sys.path`, and before installed ones; a folder that is no package only where nothing of its
    name is installed. Python's own modules, torch, torchvision and numpy are always the real ones.

    Args:
        owner: who wants it: files of one folder share their modules where the owner is the same.
        anew: run it again, with its neighbours, if it was imported before.

    Raises:
        ImportError: it is not a Python file. Besides, whatever its code raises.
    """
    file = file.absolute()
    own = file.parent
    root, packages = package_of(file)
    told = "\0".join([owner, str(own), str(root)])
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = next((one for one in sys.modules if _is_private(one) and one.endswith(f"_{digest}")), "")
    if anew:
        for member in [one for one in sys.modules if f"{one}.".startswith(f"{name}.")]:
            del sys.modules[member]
    home = _home_in(sys.modules.get(name)) or Neighbours(
        f"{_PRIVATE}{file.stem.replace('.', '_')}_{digest}", [own, root]
    )
    importlib.invalidate_caches()
    with home.entered(), plain_names():
        return home.member(file, packages)


def package_of(file: Path) -> tuple[Path, list[str]]:
    """The folder that the outermost package around a file lies in; the packages from there on."""
    root = file.parent
    packages: list[str] = []
    while "." not in root.name and (root / "__init__.py").is_file() and root != root.parent:
        packages.insert(0, root.name)
        root = root.parent
    return root, packages


@contextlib.contextmanager
def at_home(module: ModuleType) -> Iterator[None]:
    """While functions of a module of `import_file` run that may look for modules by their names.

    Within it, whoever asks for a neighbour by its name gets it, such as the reader of a pickle.
    """
    home = _home_of(module)
    with home.entered() if home else contextlib.nullcontext(), plain_names():
        yield


def imported_from(file: Path) -> list[ModuleType]:
    """The modules, one for each owner, that `import_file` has made of a file."""
    members = [one for name, one in list(sys.modules.items()) if _is_private(name)]
    return [one for one in members if vars(one).get("__file__") == str(file)]


def files_beside(module: ModuleType) -> set[Path]:
    """The files of all modules that were imported together with a module of `import_file`."""
    home = _home_of(module)
    if home is None:
        return set()
    members = (one for name, one in list(sys.modules.items()) if name.startswith(f"{home.name}."))
    return {Path(file) for one in members if (file := vars(one).get("__file__"))}


def folders_beside(module: ModuleType) -> list[Path]:
    """The folders in which the modules beside a module of `import_file` are looked for."""
    home = _home_of(module)
    return [Path(folder) for folder in home.folders()] if home else []


def without_private_names(text: str) -> str:
    """A message with modules' names as their authors know them."""
    return re.sub(rf"{_PRIVATE}\w+?_[0-9a-f]{{8}}\.", "", text)


@contextlib.contextmanager
def plain_names() -> Iterator[None]:
    """Name missing modules as the user's code did."""
    try:
        yield
    except ModuleNotFoundError as error:
        text = without_private_names(str(error))
        if text == str(error):
            raise
        name = without_private_names(error.name or "")
        told = ModuleNotFoundError(text, name=name, path=error.path)
        raise told.with_traceback(error.__traceback__) from None


def _is_private(name: str) -> bool:
    return name.startswith(_PRIVATE)


def _home_of(module: ModuleType) -> Neighbours | None:
    return _home_in(sys.modules.get(module.__name__.partition(".")[0]))


def _home_in(package: ModuleType | None) -> Neighbours | None:
    # Not by getattr: a module that is imported on first use would be.
    return vars(package).get(_HOME) if package else None


class Neighbours:
    """The private package of a file and of the modules beside it.

    Args:
        name: of the package, in `sys.modules`.
        folders: where its members are looked for, in this order.
    """

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        self.name = name
        package = ModuleType(name)
        package.__path__ = list(dict.fromkeys(map(str, folders)))
        setattr(package, _HOME, self)
        sys.modules[name] = self._package = package
        self._own = folders[0]
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._importlib = _Importlib(self)
        self._path_before: list[str] | None = None

    def folders(self) -> list[str]:
        """Where members are looked for, with what the user's code has added to `sys.path`."""
        before = self._path_before
        if before is not None:
            path: list[str] = list(self._package.__path__)
            added = [one for one in sys.path if one not in before and one not in path
                     and Path(one).name not in _INSTALLED]  # fmt: skip
            first = next((place for place, one in enumerate(sys.path) if one in before), 0)
            in_front = [one for one in sys.path[:first] if one in added]
            rest = [one for one in added if one not in in_front]
            self._package.__path__ = [
                *(str(Path(one).absolute()) for one in in_front),
                *path,
                *(str(Path(one).absolute()) for one in rest),
            ]
        return list(self._package.__path__)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """While code of the package runs that may look for members by their names."""
        if self._path_before is not None:
            yield
            return
        self._path_before = list(sys.path)
        _FINDER.forget_aliases()
        _FINDER.entered.append(self)
        try:
            yield
        finally:
            _FINDER.entered.remove(self)
            self.folders()
            before = self._path_before
            installed = (one for one in sys.path if Path(one).name in _INSTALLED)
            sys.path[:] = [*before, *(one for one in installed if one not in before)]
            self._path_before = None
            _FINDER.forget_aliases()

    def member(self, file: Path, packages: Sequence[str]) -> ModuleType:
        """The module in a file of the package, imported if it is not yet.

        Args:
            packages: the packages that it is in, outermost first.
        """
        parent = ".".join([self.name, *packages])
        if packages:
            self._import_package(packages, file.parent.parents[len(packages) - 1])
        if file.name == "__init__.py" and packages:
            return sys.modules[parent]
        name = f"{parent}.{file.stem.replace('.', '_')}"
        if name in sys.modules:
            return sys.modules[name]
        if file.suffix != ".py":
            raise ImportError(f"{file.name} is not a Python file")
        spec = importlib.util.spec_from_file_location(
            name, file, loader=_Loader(name, str(file), self.builtins)
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        return sys.modules[name]

    def _import_package(self, packages: Sequence[str], root: Path) -> None:
        """The package that a file is in, whatever of its name lies beside the file itself."""
        top = f"{self.name}.{packages[0]}"
        if top not in sys.modules:
            path = self._package.__path__
            self._package.__path__ = [str(root)]
            try:
                importlib.import_module(top)
            finally:
                self._package.__path__ = path
        importlib.import_module(".".join([self.name, *packages]))

    def has(self, top: str) -> bool:
        """Whether a module of this name is found beside the file, and means that one."""
        if f"{self.name}.{top}" in sys.modules:
            return True
        if top in _SHARED or (top in sys.stdlib_module_names and top in sys.modules):
            return False
        spec = PathFinder.find_spec(f"{self.name}.{top}", self.folders())
        if spec is not None and spec.loader is not None:
            return True
        if _installed(top, self._path_before):
            return False
        if spec is None and (home := self._folder_called(top)):
            self._package.__path__ = [*self._package.__path__, str(home.parent)]
            return True
        return spec is not None

    def _folder_called(self, top: str) -> Path | None:
        """A folder around the file that has this name: a package that has no `__init__.py`."""
        around = [self._own, *self._own.parents][:_ANCESTORS]
        return next((folder for folder in around if folder.name == top), None)

    def import_member(self, name: str) -> ModuleType:
        """The member of this dotted name."""
        with plain_names():
            return importlib.import_module(f"{self.name}.{name}")

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """What `import` statements in members call in the place of Python's `__import__`."""
        top = name.partition(".")[0]
        if level or not self.has(top):
            with plain_names():
                module = builtins.__import__(name, globals, locals, fromlist, level)
            return self._importlib if module is importlib else module
        if isinstance(fromlist, list):  # a call from C, such as pickle's, which then looks there
            _FINDER.add_alias(name, self.import_member(name))
        if not fromlist:
            self.import_member(name)
            return sys.modules[f"{self.name}.{top}"]
        with plain_names():
            return builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist, 0)


def _installed(top: str, path: Sequence[str] | None) -> bool:
    """Whether the process has a module of this name that is no mere folder.

    Args:
        path: `sys.path` without what a file's own code has put into it.
    """
    if top in sys.builtin_module_names:
        return True
    spec = PathFinder.find_spec(top, path)
    return spec is not None and spec.loader is not None


class _Importlib(ModuleType):
    """What members get for `importlib`, so that its `import_module` finds their neighbours."""

    def __init__(self, home: Neighbours) -> None:
        super().__init__("importlib", importlib.__doc__)
        self._home = home

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """As that of importlib."""
        if name.startswith(".") or not self._home.has(name.partition(".")[0]):
            return importlib.import_module(name, package)
        return self._home.import_member(name)


class _Loader(SourceFileLoader):
    """Runs a member's code with the `__import__` of its package."""

    def __init__(self, name: str, path: str, builtins: Mapping[str, Any]) -> None:
        super().__init__(name, path)
        self._builtins = builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)


class _Alias(Loader):
    """Gives a member under the name by which its author knows it."""

    def __init__(self, home: Neighbours) -> None:
        self._home = home

    def create_module(self, spec: ModuleSpec) -> None:
        """Nothing: the module is there already, or is imported under its private name."""

    def exec_module(self, module: ModuleType) -> None:
        member = self._home.import_member(module.__name__)
        del sys.modules[module.__name__]
        _FINDER.add_alias(module.__name__, member)


class _Finder:
    """Finds the members of private packages, and by plain names those of entered ones."""

    def __init__(self) -> None:
        self.entered: list[Neighbours] = []
        self._aliases: set[str] = set()

    def add_alias(self, name: str, member: ModuleType) -> None:
        """Show a member under its plain name for a while, unless that is another module's."""
        if name in self._aliases or name not in sys.modules:
            sys.modules[name] = member
            self._aliases.add(name)

    def forget_aliases(self) -> None:
        """Show members under their private names only."""
        for name in self._aliases:
            sys.modules.pop(name, None)
        self._aliases.clear()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top = name.partition(".")[0]
        if not _is_private(top):
            home = self.entered[-1] if self.entered else None
            known = home is not None and (top in self._aliases or self._is_alias(home, top))
            return ModuleSpec(name, _Alias(home)) if home and known else None
        home = _home_in(sys.modules.get(top))
        spec = PathFinder.find_spec(name, path) if home else None
        if home and spec and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(name, spec.loader.path, home.builtins)
        return spec

    @staticmethod
    def _is_alias(home: Neighbours, top: str) -> bool:
        return not _installed(top, home._path_before) and home.has(top)


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)
