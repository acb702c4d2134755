"""Writes the package of a new plugin: it installs, passes its tests, and does something useful."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from auditor.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Kind(StrEnum):
    """What a plugin offers at first."""

    ATTACK = "attack"
    CHECK = "check"
    DATA = "data"
    REPORTER = "reporter"


#: Where the registry keeps what a kind offers, and the tests of kinds that have their own.
FIELDS = {Kind.ATTACK: "attacks", Kind.CHECK: "checks", Kind.DATA: "data", Kind.REPORTER: "reports"}
_TESTS = {Kind.DATA: "test_data", Kind.REPORTER: "test_reporter"}


@dataclass(frozen=True)
class Names:
    """What things are called.

    Attributes:
        offer: what users write in audit.toml.
    """

    offer: str

    @property
    def package(self) -> str:
        """The distribution, and its folder."""
        return self.offer if self.offer.startswith("auditor-") else f"auditor-{self.offer}"

    @property
    def module(self) -> str:
        """What is imported."""
        return self.package.replace("-", "_")

    @property
    def cls(self) -> str:
        """The class."""
        return "".join(word.capitalize() for word in self.offer.split("-"))


def write_plugin(name: str, kind: Kind, parent: Path) -> list[Path]:
    """Write the package into a new folder of `parent`; returns its files.

    Raises:
        UsageError: the name cannot be used, or the folder is there already.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'A plugin cannot be called "{name}".',
            expected="small letters, digits and single hyphens, a letter first: my-attack",
            remedy="choose such a name; it is what users write after `use =`",
        )
    names = Names(name)
    folder = parent / names.package
    if folder.exists():
        raise UsageError(
            f"{folder} is there already, and nothing is overwritten.",
            expected="a name that is not taken in this folder",
            remedy="choose another name, or move the folder away",
        )
    written = []
    for path, template in _contents(names, kind).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_filled(template, names, kind), encoding="utf-8")
        written.append(file)
    return written


def _contents(names: Names, kind: Kind) -> dict[str, str]:
    """The template of each file."""
    test = _TESTS.get(kind, "test_conforms")
    return {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        f"src/{names.module}/__init__.py": f"{kind.value}.py.j2",
        f"tests/{test}.py": f"{test}.py.j2",
    }


def _filled(template: str, names: Names, kind: Kind) -> str:
    from jinja2 import Environment, StrictUndefined

    text = files("auditor.scaffold").joinpath(template).read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(names=names, kind=kind.value)
