"""Import a slow module only when something of it is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any


class _LazyModule(ModuleType):
    """Stands in `sys.modules` for a module, and becomes it when an attribute is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        spec = PathFinder.find_spec(self.__name__)
        if spec is None or spec.loader is None:
            del sys.modules[self.__name__]
            raise ModuleNotFoundError(f"No module named {self.__name__!r}", name=self.__name__)
        # From here on an ordinary module: no detour for attributes, no second copy.
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__spec__, self.__loader__, self.__package__ = spec, spec.loader, spec.name
        self.__file__, self.__path__ = spec.origin, spec.submodule_search_locations or []
        spec.loader.exec_module(self)
        return getattr(self, attribute)


def import_on_first_use(name: str) -> None:
    """Make later `import name` statements free until something of the module is used.

    The command line uses it for torch, which takes seconds to import: describing plugins and
    checking a configuration then never pay for it, and plugins may still say `import torch`.
    """
    if name not in sys.modules:
        sys.modules[name] = _LazyModule(name)


@contextmanager
def unseen(name: str) -> Iterator[None]:
    """Hide a module that nobody has used yet from libraries that look whether it is there.

    Matplotlib asks `sys.modules["torch"]` whether an array is one of torch's, which imports it.
    """
    module = sys.modules.get(name)
    if not isinstance(module, _LazyModule):
        yield
        return
    del sys.modules[name]
    try:
        yield
    finally:
        sys.modules[name] = module
