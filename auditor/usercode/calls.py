"""The user's own Python: imported, called, and blamed for what it raises."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor.errors import LoadError, raised_at, told
from auditor.printable import printable
from auditor.storage import StorageError, write_atomically
from auditor.usercode.neighbours import at_home, import_file, without_private_names


def import_source(source: Path | str, owner: str = "", where: str = "") -> ModuleType:
    """The module in a file, or of a name. What it raises is the user's own.

    Args:
        owner: who wants it, as in `import_file`: a module of a name belongs to all.
        where: for messages.

    Raises:
        LoadError: there is no module of that name. Besides, whatever the module raises.
    """
    if isinstance(source, Path):
        return import_file(source, owner)
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise
        raise LoadError(
            f"No module named {error.name!r}.",
            where=where or source,
            expected="a module beside audit.toml, or one that is installed",
            remedy="write its file, such as folder/model.py:make, which may be part of a package; "
            "or install the package it is in",
        ) from None


def callable_in(module: ModuleType, name: str, where: str, expected: str = "a callable") -> Any:
    """What a module calls `name`, which may have dots.

    Raises:
        LoadError: it is not there, or cannot be called.
    """
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if callable(found):
        return found
    offered = sorted(
        key
        for key, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    )
    raise LoadError(
        f"There is no function called {name!r}.",
        where=where,
        expected=expected,
        remedy=f"the module has: {', '.join(offered)}" if offered else "define it there",
    )


def import_extra(package: str, extra: str, where: str) -> Any:
    """A package that only some of what is offered needs, imported.

    Args:
        extra: of robustness-auditor, which installs it.
        where: for the message.

    Raises:
        LoadError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise LoadError(
            f"The package {package} cannot be imported: {error}.",
            where=where,
            expected=f"{package.partition('.')[0]}, which is not installed with auditor itself",
            remedy=f"pip install 'robustness-auditor[{extra}]'",
        ) from None


def call_factory(text: str, kwargs: Mapping[str, Any], where: str) -> Any:
    """What "file.py:callable" or "package.module:callable" returns.

    Args:
        text: as a `FactoryPath` gives it.
        kwargs: the callable's arguments.
        where: for messages.

    Raises:
        LoadError: it is not there, or raises.
    """
    source, _, name = text.rpartition(":")
    with raised_by_user_code(where, "importing it"):
        module = import_source(Path(source) if source.endswith(".py") else source, where=where)
    make = callable_in(module, name, where)
    with raised_by_user_code(where, "calling it"), at_home(module):
        return make(**kwargs)


@contextlib.contextmanager
def raised_by_user_code(
    where: str,
    doing: str,
    expected: str = "no error",
    remedy: str = "run it by itself in Python and mend what it reports",
) -> Iterator[None]:
    """Turn any error of the user's code into a LoadError that shows its last line.

    Args:
        where: what was being loaded or made.
        doing: what raised, as the message begins.
        expected, remedy: of the message.
    """
    try:
        yield
    except (KeyboardInterrupt, LoadError):
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        place = raised_at(error)
        raise LoadError(
            f"{doing[0].upper()}{doing[1:]} raised {without_private_names(told(error))}",
            where=", ".join(filter(None, (where, f"raised at {place}" if place else ""))),
            expected=expected,
            remedy=remedy,
        ) from error


def blamed(error: BaseException) -> str:
    """Type and text of an error of the user's code, and the line of it that it came from."""
    what, place = without_private_names(told(error)), raised_at(error)
    return f"{what} (at {place})" if place else what


def keep_traceback(error: BaseException, directory: Path) -> str:
    """The name of the file of a run directory that now holds an error's traceback.

    Empty where the disk refuses it: what the traceback is of has been told.
    """
    text = printable("".join(traceback.format_exception(error))).encode()
    name = f"traceback-{hashlib.sha256(text).hexdigest()[:8]}.txt"
    try:
        write_atomically(directory / name, text)
    except StorageError:
        return ""
    return name


def with_traceback(text: str, error: BaseException, directory: Path) -> str:
    """`text`, which tells of an error, and where the traceback of it is kept."""
    name = keep_traceback(error, directory)
    return f"{text}; the traceback is in {name}" if name else text
