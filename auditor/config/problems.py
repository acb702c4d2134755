"""Collects the faults of a configuration, in the words of its author."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from auditor.config.expected import choices, expected, fields_of, hint_at, remedies
from auditor.config.positions import KeyPath
from auditor.config.source import ConfigSource
from auditor.errors import (
    AuditorError,
    ConfigError,
    ExitStatus,
    LoadError,
    UsageError,
    did_you_mean,
)
from auditor.schema.audit import ARRAYS, TABLES, HeadTable

#: Each takes a search for the nearest name, and nobody reads more of them.
_MOST_TOLD = 100


class _LoadConfigError(ConfigError, LoadError):
    """Everything in the file is right, but something it names could not be loaded."""

    exit_status = ExitStatus.LOAD


def shown(value: Any) -> str:
    """A value much as it would be written in the file, shortened."""
    if isinstance(value, dict):
        text = "{ " + ", ".join(f"{key} = {shown(part)}" for key, part in value.items()) + " }"
    elif isinstance(value, list):
        text = "[" + ", ".join(shown(part) for part in value) + "]"
    elif isinstance(value, (str, bool)):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: Iterable[str]) -> str:
    """Names to choose from."""
    names = list(names)
    return "one of: " + ", ".join(names) if names else "nothing: there is none"


def section(path: KeyPath) -> str:
    """The table that a key belongs to, as it is headed in the file."""
    if not path:
        return "audit.toml"
    names = [str(part) for part in path if isinstance(part, str)]
    return f"[[{names[0]}]]" if len(names) == 1 and path[0] in ARRAYS else f"[{'.'.join(names)}]"


class Problems:
    """The faults found so far; of very many, the first are told and the others counted."""

    def __init__(self, source: ConfigSource) -> None:
        self.source = source
        self._found: list[tuple[float, AuditorError]] = []
        self._more = 0

    def add(
        self,
        path: KeyPath,
        what: str,
        *,
        expected: str = "",
        remedy: str = "",
        kind: type[AuditorError] = UsageError,
    ) -> None:
        """Note what is wrong with the key at `path`."""
        error = kind(what, where=self.source.where(path), expected=expected, remedy=remedy)
        line = self.source.line(path)
        overridden = self.source.override_of(path) is not None
        self._found.append((float("inf") if line is None or overridden else line, error))

    def raise_if_any(self) -> None:
        """Raise all of them at once, in the order of the file.

        Raises:
            ConfigError: there are any; it is a LoadError too when all of them are.
        """
        if not self._found:
            return
        errors = [error for _, error in sorted(self._found, key=lambda found: found[0])]
        if self._more:
            errors.append(UsageError(f"There are {self._more:,} further problems of keys."))
        only_loading = all(isinstance(error, LoadError) for error in errors)
        raise (_LoadConfigError if only_loading else ConfigError)(self.source.name, errors)

    def add_invalid(
        self,
        path: KeyPath,
        value: Any,
        error: ValidationError,
        hints: Mapping[str, Any],
        subject: str = "",
    ) -> set[str | int]:
        """Note every fault that pydantic found in the table `value` at `path`.

        Args:
            hints: the table's keys with their types.
            subject: what to call the table, if not by its heading.

        Returns:
            The keys at fault, or around one.
        """
        seen = set()
        for item in error.errors(include_url=False):
            missing = item["type"] == "missing"
            place = _reachable(value, item["loc"][: len(item["loc"]) - missing])
            place = (*place, str(item["loc"][-1])) if missing else place
            if place in seen:  # the several readings of one wrong value
                continue
            seen.add(place)
            if len(self._found) >= _MOST_TOLD:
                self._more += 1
                continue
            owner = subject if subject and len(place) == 1 else section((*path, *place[:-1]))
            hint: Any = dict(hints)
            for part in place[:-1]:
                hint = hint_at(hint, part)
            if missing:
                self._add_missing((*path, *place), hint, owner)
            elif item["type"] == "extra_forbidden":
                self._add_unknown((*path, *place), hint, owner)
            else:
                given = _at(value, place)
                own = item["msg"] if item["type"] == "value_error" else ""
                self._add_wrong((*path, *place), given, hint_at(hint, place[-1]), own)
        return {place[0] for place in seen}

    def _add_missing(self, path: KeyPath, hint: Any, owner: str) -> None:
        name = path[-1]
        self.add(
            path,
            f"{owner} needs the key `{name}`.",
            expected=f"{name} = {expected(hint_at(hint, name))}",
        )

    def _add_unknown(self, path: KeyPath, hint: Any, owner: str) -> None:
        *table, name = path
        names = list(hint if isinstance(hint, dict) else _fields(hint))
        if not table:
            names += ["schema", *TABLES]
        elif sum(isinstance(part, str) for part in table) == 1:  # also what a plugin does not know
            names = list(dict.fromkeys((*TABLES[str(table[0])].model_fields, *names)))
        self.add(
            path,
            f"{owner} has no key `{name}`.",
            expected=listed(names),
            remedy=did_you_mean(name, names) or _home(str(name)) or "remove it",
        )

    def _add_wrong(self, path: KeyPath, given: Any, hint: Any, own: str) -> None:
        name = next(part for part in reversed(path) if isinstance(part, str))
        what = f"`{name}` cannot be" if name == path[-1] else f"`{name}` cannot hold"
        words = expected(hint)
        remedy = next(iter(remedies(hint, given)), "")
        if not remedy and isinstance(given, str):
            remedy = did_you_mean(given, choices(hint))
        if not remedy and isinstance(given, str) and _is_number(given) and "text" not in words:
            remedy = f"write it without quotes: {given.strip()}"
        if not remedy and isinstance(given, (int, float)) and words.startswith(("text", '"')):
            remedy = f'put it in quotes: "{shown(given)}"'
        said = own.removeprefix("Value error, ")
        detail = f" ({said})" if said and "nor a fraction" not in said else ""
        self.add(path, f"{what} {shown(given)}{detail}.", expected=words, remedy=remedy)


def _fields(hint: Any) -> list[str]:
    """The keys of the table a type hint stands for."""
    options = getattr(hint, "__args__", (hint,))
    tables = [option for option in options if hasattr(option, "model_fields")]
    return [name for table in tables for name in fields_of(table)]


def _home(name: str) -> str:
    """Where a key belongs that stands in the wrong table."""
    for table, cls in TABLES.items():
        if name in cls.model_fields:
            return f"`{name}` is a key of {section((table,))}"
    if name in ("schema", *HeadTable.model_fields):
        return f"`{name}` belongs before the first [table]"
    return f"{section((name,))} is a table of its own" if name in TABLES else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reachable(value: Any, loc: tuple[int | str, ...]) -> KeyPath:
    """What of a pydantic location exists in the file; the rest names readings of a value."""
    place: KeyPath = ()
    for part in loc:
        inside = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if inside:
            value, place = value[part], (*place, part)
    return place


def _at(value: Any, place: KeyPath) -> Any:
    for part in place:
        value = value[part]
    return value
