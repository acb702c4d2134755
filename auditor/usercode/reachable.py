"""The code that a file may run: its own, and that of the modules beside it which it imports.

It is found by reading, not by running: an import in a function that is called later counts, and so
does one that is never reached. What is installed is named by its version.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

from auditor.usercode.neighbours import files_beside, folders_beside, imported_from, package_of

_SITE = tuple(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
_STDLIB = Path(sysconfig.get_path("stdlib"))
_OURS = frozenset({"auditor", "auditor_plugins", "auditor_report_templates"})


def code_hash(source: Path | str) -> str:
    """sha256 of all code that can be reached from a file, or from a module that was imported.

    Args:
        source: the file, or the module's name.
    """
    if isinstance(source, str):
        spec = _spec(source)
        origin = spec.origin if spec and spec.has_location else None
        top = source.partition(".")[0]
        if origin is None or _is_installed(Path(origin)):
            return hashlib.sha256(
                f"{source} {_version(top)}".encode("utf-8", "surrogatepass")
            ).hexdigest()
        file = Path(origin)
        root = file.parents[source.count(".") + (file.name == "__init__.py")]
        members, folders = {file}, [root]
    else:
        root, _ = package_of(source.absolute())
        members, folders = _around(source.absolute())
    files, installed = _closure(members, folders)
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda one: os.path.relpath(one, root)):
        content = path.read_bytes()
        digest.update(os.fsencode(f"{os.path.relpath(path, root)} {len(content)}\n"))
        digest.update(content)
    for name in sorted(installed):
        digest.update(f"{name} {_version(name)}\n".encode())
    return digest.hexdigest()


def code_files(file: Path) -> list[Path]:
    """A file, and all others beside it that can be reached from it."""
    files, _ = _closure(*_around(file.absolute()))
    return [file, *sorted(files - {file.absolute()})]


def own_files(source: Path | str) -> list[Path]:
    """The same of a file, or of a module; nothing of one that is installed."""
    if isinstance(source, Path):
        return code_files(source)
    spec = _spec(source)
    origin = spec.origin if spec and spec.has_location else None
    return [] if origin is None or _is_installed(Path(origin)) else code_files(Path(origin))


def _around(file: Path) -> tuple[set[Path], list[Path]]:
    """A file with those that were imported together with it, and where its neighbours lie."""
    members, folders = {file}, [file.parent, package_of(file)[0]]
    for module in imported_from(file):
        members |= files_beside(module)
        folders += folders_beside(module)
    return members, folders


def _closure(start: Iterable[Path], folders: Sequence[Path]) -> tuple[set[Path], set[str]]:
    """Files that can be reached from some, and the top-level names of what is installed."""
    todo, files, installed = list(start), set[Path](), set[str]()
    while todo:
        file = todo.pop()
        if file in files or not file.is_file():
            continue
        files.add(file)
        if file.suffix != ".py":
            continue
        for level, name in _imports(file):
            parts = name.split(".") if name else []
            if level:
                around = [file.parents[level - 1]] if level <= len(file.parents) else []
            elif parts[0] in _OURS or parts[0] in sys.stdlib_module_names:
                around = list(folders) if _located(parts[:1], folders) else []
            else:
                around = list(folders)
            found = list(_located(parts, around))
            if not found and not level:
                found = list(_elsewhere(parts, installed))
            todo += found
    return files, installed


def _imports(file: Path) -> Iterator[tuple[int, str]]:
    """Level and dotted name of everything that is imported anywhere in a file."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
            yield from ((node.level, name) for name in names if name or node.level)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = node.args[0].value
            if called in ("import_module", "__import__") and isinstance(name, str) and name:
                yield len(name) - len(name.lstrip(".")), name.lstrip(".")


def _located(parts: Sequence[str], folders: Iterable[Path]) -> list[Path]:
    """The files of a module and of the packages around it, in whichever folders they are."""
    found = []
    for folder in folders:
        for count in range(len(parts) + 1):
            place = folder.joinpath(*parts[:count])
            candidates = [place / "__init__.py"] if count or parts == [] else []
            candidates += [place.with_name(f"{place.name}.py")] if count else []
            found += [file for file in candidates if file.is_file()]
    return found


def _elsewhere(parts: Sequence[str], installed: set[str]) -> Iterator[Path]:
    """The same for a module elsewhere on the path; one that is installed is noted."""
    top = parts[0]
    if top in _OURS or top in sys.stdlib_module_names:
        return
    spec = _spec(top)
    if spec is None or spec.origin is None:
        return
    file = Path(spec.origin)
    if _is_installed(file):
        installed.add(top)
        return
    yield from _located(
        parts, [file.parents[1] if spec.submodule_search_locations else file.parent]
    )


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_installed(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in (*_SITE, _STDLIB))


@lru_cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _version(top: str) -> str:
    """The version of the distribution that a module comes from; empty if there is none."""
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:  # most are called like their package; to look is slow
        names = _distributions().get(top, [])
    return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))
