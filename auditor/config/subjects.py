"""Resolves what is audited: run, data and threats; `models` has the models."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from auditor.config.context import Context
from auditor.config.model import (
    DataConfig,
    Epsilon,
    RunConfig,
    ThreatConfig,
)
from auditor.config.paths import resolved_paths
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.config.schema import DataTable, RunTable, ThreatTable
from auditor.parameters import parse_number
from auditor.printable import encodable

#: A unit in the last place of a float32 pixel near 1, and the largest float32.
_SMALLEST, _LARGEST = 2.0**-23, 3.4e38
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def resolve_run(context: Context, table: RunTable) -> RunConfig:
    """[run]."""
    problems = context.problems
    if table.executor != "local":
        problems.add(
            ("run", "executor"),
            f'The executor "{table.executor}" is not available in this version.',
            expected='"local"',
        )
    output = (context.directory / table.output).absolute()
    if output.exists() and not output.is_dir():
        problems.add(
            ("run", "output"),
            f"{shown(table.output)} is a file.",
            expected="a directory, which is made if it does not exist",
        )
    elif encodable(str(output)) != str(output):  # safetensors and Parquet open no such files
        problems.add(
            ("run", "output"),
            f"The path of the output directory is no UTF-8 text: {output}.",
            expected="a directory whose path is UTF-8 text",
            remedy='name one elsewhere, such as output = "/tmp/audits"',
        )
    return RunConfig(
        seed=table.seed,
        device=table.device,
        threads=table.threads,
        batch_size=table.batch_size,
        search_precision=table.search_precision,
        output=output,
        output_text=table.output,
        executor=table.executor,
        time_budget=_seconds(context, table.time_budget),
    )


def _seconds(context: Context, text: str | None) -> float | None:
    if text is None:
        return None
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+)([hms])", text))
    if seconds == 0:
        context.problems.add(
            ("run", "time_budget"),
            f"`time_budget` cannot be {shown(text)}.",
            expected='a length of time > 0 as text, such as "90s", "30m", "2h" or "1h30m"',
            remedy="leave the key out for no limit",
        )
    return float(seconds)


def resolve_data(context: Context, table: DataTable) -> DataConfig | None:
    """[data], its adapter asked for its own keys."""
    given: dict[str, Any] = dict(table.model_extra or {})
    spec = context.registry.data.get(table.adapter)
    if spec is None:
        context.unknown(("data", "adapter"), "data adapter", table.adapter, context.registry.data)
        return None
    written = context.parameters(("data",), spec, given, f'The data adapter "{spec.name}"')
    if written is None:
        return None
    resolved = resolved_paths(context, ("data",), spec, written)
    if table.draw == "balanced" and table.samples is None:
        context.problems.add(
            ("data", "draw"),
            "`draw` says how `samples` are drawn, and there is no `samples`.",
            expected="both, or neither: then all images are audited",
            remedy="say how many: samples = 500",
        )
    return DataConfig(
        table.adapter, resolved, written, table.samples, table.draw, table.expected_accuracy
    )


def resolve_threats(context: Context, tables: Sequence[ThreatTable | None]) -> list[ThreatConfig]:
    """Those of [[threat]] that have no faults."""
    threats = []
    seen: set[tuple[str, Fraction]] = set()
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = ("threat", index)
        known = table.norm in context.registry.norms
        if not known:
            context.unknown((*path, "norm"), "norm", table.norm, context.registry.norms)
        epsilons = _epsilons(context, path, table, seen)
        if known and epsilons is not None:
            threats.append(ThreatConfig(table.norm, tuple(epsilons), table.rationale))
    return threats


def _epsilons(
    context: Context, path: KeyPath, table: ThreatTable, seen: set[tuple[str, Fraction]]
) -> list[Epsilon] | None:
    """The sizes of a threat in ascending order, each there only once; None if one is wrong."""
    several = isinstance(table.epsilon, list)
    given = table.epsilon if isinstance(table.epsilon, list) else [table.epsilon]
    epsilons = []
    if not given:
        context.problems.add((*path, "epsilon"), "`epsilon` is an empty list.",
                             expected="at least one number > 0")  # fmt: skip
    for index, number in enumerate(given):
        place = (*path, "epsilon", index) if several else (*path, "epsilon")
        epsilon = read_epsilon(context, place, number, linf=table.norm == "linf")
        if epsilon is None:
            continue
        if (table.norm, epsilon.fraction) in seen:
            context.problems.add(
                place,
                f"`epsilon` {shown(number)} is there twice for {table.norm}.",
                expected="every pair of norm and epsilon once",
                remedy="remove one of them",
            )
        seen.add((table.norm, epsilon.fraction))
        epsilons.append(epsilon)
    if len(epsilons) < max(len(given), 1):
        return None
    return sorted(epsilons, key=lambda epsilon: epsilon.fraction)


def read_epsilon(
    context: Context, path: KeyPath, number: float | str, *, linf: bool
) -> Epsilon | None:
    """A size in pixel space with its text; None, and a problem noted, where it is not one."""
    text = number if isinstance(number, str) else repr(number)
    expected = 'a number > 0, or a fraction as text such as "8/255"'
    try:
        value = parse_number(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        context.problems.add(path, f"`epsilon` cannot be {shown(number)}.", expected=expected)
        return None
    if not _SMALLEST <= value <= _LARGEST:
        context.problems.add(
            path,
            f"`epsilon` cannot be {shown(number)}: pixels are of float32, which cannot hold it.",
            expected=f"a number >= {_SMALLEST:.2g}, in pixel space, where pixels lie in [0, 1]",
        )
        return None
    if linf and value > 1:
        levels = f'for {value:g} grey levels of 255 write "{value:g}/255"'
        context.problems.add(
            path,
            f"`epsilon` cannot be {shown(number)} for linf: pixels lie in [0, 1].",
            expected="a number > 0 and <= 1",
            remedy=levels if value <= 255 else "",
        )
        return None
    return Epsilon(float(value), text)
