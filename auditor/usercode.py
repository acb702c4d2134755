"""The user's own Python: imported, called, and blamed for what it raises."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor.errors import LoadError, raised_at


def import_source(source: Path | str) -> ModuleType:
    """The module in a file, or of a name. What it raises is the user's own."""
    if isinstance(source, str):
        return importlib.import_module(source)
    # One private name per file, so that two models' models.py do not meet.
    name = f"_audited_{source.stem}_{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(source.parent))  # its neighbours, which it may import
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(source.parent))
    return module


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
        module = import_source(Path(source) if source.endswith(".py") else source)
    make: Any = module
    for part in name.split("."):
        make = getattr(make, part, None)
    if not callable(make):
        own = (key for key, value in vars(module).items()
               if getattr(value, "__module__", None) == module.__name__)  # fmt: skip
        offered = ", ".join(sorted(own))
        raise LoadError(
            f"There is no function called {name!r}.",
            where=where,
            expected="a callable",
            remedy=f"the module has: {offered}" if offered else "define it there",
        )
    with raised_by_user_code(where, "calling it"):
        return make(**kwargs)


@contextlib.contextmanager
def raised_by_user_code(where: str, doing: str) -> Iterator[None]:
    """Turn any error of the user's code into a LoadError that shows its last line."""
    try:
        yield
    except (KeyboardInterrupt, LoadError):
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        place = raised_at(error)
        raise LoadError(
            f"{doing[0].upper()}{doing[1:]} raised {type(error).__name__}: {error}",
            where=f"{where}, raised at {place}" if place else where,
            expected="no error",
            remedy="run it by itself in Python and mend what it reports",
        ) from error
