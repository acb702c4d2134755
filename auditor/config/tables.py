"""Reads the tables of the file one by one, so that a fault in one hides none in another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from auditor.config.expected import fields_of
from auditor.config.positions import KeyPath
from auditor.config.problems import Problems, shown
from auditor.schema.audit import ARRAYS, TABLES, HeadTable
from auditor.schema.tables import (
    AttackConfig,
    CheckConfig,
    DataConfig,
    GateConfig,
    LoadedModelConfig,
    ModelConfig,
    PluginsConfig,
    ReportConfig,
    RunConfig,
    Table,
    ThreatConfig,
    TrackConfig,
)

_T = TypeVar("_T", bound=Table)

#: What to write for a table that has to be there.
_EXAMPLES = {
    "model": '[[model]] with factory = "file.py:callable"',
    "data": '[data] with adapter = "npz" and path = "file.npz"',
    "threat": '[[threat]] with norm = "linf" and epsilon = "8/255"',
}
#: Tables whose keys have nothing to do with each other: if some are wrong, the others still count.
_LOOSE = ("run", "model", "data", "report")


@dataclass(frozen=True)
class Tables:
    """The file's tables by position; `()` or defaults where they are absent.

    None stands for a table with faults, or (where others do not depend on them) it is without them.

    `attacks` and `checks` are None where the file leaves them out.
    """

    head: HeadTable | None
    run: RunConfig | None
    models: tuple[ModelConfig | None, ...]
    data: DataConfig | None
    threats: tuple[ThreatConfig | None, ...]
    attacks: tuple[AttackConfig | None, ...] | None
    checks: tuple[CheckConfig | None, ...] | None
    gates: tuple[GateConfig | None, ...]
    report: ReportConfig | None
    tracks: tuple[TrackConfig | None, ...]
    plugins: PluginsConfig | None


def read_tables(problems: Problems) -> Tables:
    """All tables of the problems' source."""
    data = problems.source.data
    head = {key: value for key, value in data.items() if key not in (*TABLES, "schema")}
    for name, example in _EXAMPLES.items():
        if not data.get(name) and data.get(name) not in (False, 0, ""):
            heading = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
            problems.add(
                (name,) if name in data else (),
                f"There is no {heading}.",
                expected=example,
            )
    return Tables(
        head=_table(problems, (), head, HeadTable),
        run=_single(problems, "run", RunConfig),
        models=_several(problems, "model", ModelConfig),
        data=_single(problems, "data", DataConfig) if "data" in data else None,
        threats=_several(problems, "threat", ThreatConfig),
        attacks=_several(problems, "attack", AttackConfig) if "attack" in data else None,
        checks=_several(problems, "check", CheckConfig) if "check" in data else None,
        gates=_several(problems, "gate", GateConfig),
        report=_single(problems, "report", ReportConfig),
        tracks=_several(problems, "track", TrackConfig),
        plugins=_single(problems, "plugins", PluginsConfig),
    )


def _single(problems: Problems, name: str, cls: type[_T]) -> _T | None:
    return _table(problems, (name,), problems.source.data.get(name, {}), cls)


def _several(problems: Problems, name: str, cls: type[_T]) -> tuple[_T | None, ...]:
    given = problems.source.data.get(name, [])
    if not isinstance(given, list):
        _table(problems, (name,), given, cls)
        return ()
    return tuple(_table(problems, (name, index), item, cls) for index, item in enumerate(given))


def _table(problems: Problems, path: KeyPath, given: Any, cls: type[_T]) -> _T | None:
    name = str(path[0]) if path else ""
    if not isinstance(given, dict):
        heading = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
        several = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        problems.add(
            path,
            f"There can be only one {heading}."
            if several
            else f"`{name}` is a table, and cannot be {shown(given)}.",
            expected=f"{heading} on a line of its own, and its keys below",
        )
        return None
    if cls is ModelConfig and "loader" in given:  # which decides on the keys
        cls = LoadedModelConfig  # type: ignore[assignment]
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        wrong = problems.add_invalid(path, given, error, fields_of(cls))
    if name not in _LOOSE or "name" in wrong:
        return None
    try:
        return cls.model_validate({key: given[key] for key in given if key not in wrong})
    except ValidationError:
        return None
