"""`auditor.api` is what plugins rely on: its names and signatures change on purpose, or not at all.

After a deliberate change rewrite golden/api.txt with AUDITOR_UPDATE_GOLDEN=1, and raise
API_VERSION: minor where something was added, major where something was taken away or means
something else.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor import api
from auditor.protocols import hookspecs
from auditor.registry.hooks import HOOKS

GOLDEN = Path(__file__).parent / "golden" / "api.txt"
ROOT = Path(__file__).parents[2]


def signature(thing: Any) -> str:
    """Without the addresses of default values."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(thing)))


def members(cls: type) -> Iterator[str]:
    """The fields and public methods that a class itself defines, or inherits from ours."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)} \
        if dataclasses.is_dataclass(cls) else getattr(cls, "__annotations__", {})  # fmt: skip
    for name, hint in fields.items():
        if not name.startswith("_"):
            yield f"{name}: {hint}"
    for name, value in inspect.getmembers(cls):
        if name.startswith("_") or name in fields:
            continue
        if inspect.isfunction(value) or inspect.ismethod(value):
            yield f"{name}{signature(value)}"
        elif isinstance(value, property) or type(value).__name__ == "cached_property":
            yield f"{name} (property)"


def described() -> Iterator[str]:
    yield f"API_VERSION = {api.API_VERSION}"
    for name in sorted(api.__all__):
        thing = getattr(api, name)
        if inspect.isclass(thing):
            yield f"class {name}"
            yield from (f"    {member}" for member in sorted(members(thing)))
        elif inspect.isfunction(thing):
            yield f"def {name}{signature(thing)}"
        elif hasattr(thing, "__metadata__"):  # how pydantic writes its bounds is pydantic's
            yield f"{name} = {thing.__origin__.__name__} within bounds"
        elif callable(thing) and not hasattr(thing, "__args__"):
            yield f"{name} (callable)"
        else:
            yield f"{name} = {thing}"
    for name in HOOKS:
        yield f"hook {name}{signature(getattr(hookspecs, name))}"


def test_names_and_signatures_are_as_they_were() -> None:
    seen = "\n".join(described()) + "\n"
    if os.environ.get("AUDITOR_UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(seen, encoding="utf-8")
    assert seen == GOLDEN.read_text(encoding="utf-8")


def test_every_name_is_there_and_documented() -> None:
    for name in api.__all__:
        thing = getattr(api, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), name


def test_every_hook_is_vetted_and_in_the_documentation() -> None:
    specified = {name for name in vars(hookspecs) if name.startswith("auditor_")}
    assert specified == set(HOOKS)
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name in HOOKS:
        assert f"| `{name}` |" in text
        assert inspect.getdoc(getattr(hookspecs, name))
