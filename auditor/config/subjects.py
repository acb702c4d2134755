"""Resolves what is audited: run, data and threats; `models` has the models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from auditor.config.context import Context
from auditor.config.paths import resolved_paths
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.printable import encodable
from auditor.schema.tables import DataConfig, RunConfig, ThreatConfig
from auditor.schema.values import Epsilon

#: A unit in the last place of a float32 pixel near 1, and the largest float32.
_SMALLEST, _LARGEST = 2.0**-23, 3.4e38


def check_run(context: Context, table: RunConfig) -> None:
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


def resolve_data(context: Context, table: DataConfig) -> DataConfig | None:
    """[data], its adapter asked for its own keys."""
    spec = context.registry.data.get(table.adapter)
    if spec is None:
        context.unknown(("data", "adapter"), "data adapter", table.adapter, context.registry.data)
        return None
    own = context.parameters(("data",), spec, table.written, f'The data adapter "{spec.name}"')
    if own is None:
        return None
    paths = resolved_paths(context, ("data",), spec, own)
    if table.draw == "balanced" and table.samples is None:
        context.problems.add(
            ("data", "draw"),
            "`draw` says how `samples` are drawn, and there is no `samples`.",
            expected="both, or neither: then all images are audited",
            remedy="say how many: samples = 500",
        )
    return table.completed(own, paths)


def check_threats(context: Context, tables: Sequence[ThreatConfig | None]) -> list[ThreatConfig]:
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
        if _sound_epsilons(context, path, table, seen) and known:
            threats.append(table)
    return threats


def _sound_epsilons(
    context: Context, path: KeyPath, table: ThreatConfig, seen: set[tuple[str, Fraction]]
) -> bool:
    """Whether all sizes of a threat are sizes; each may be there only once."""
    several = isinstance(table.epsilon, list)
    given = table.epsilon if isinstance(table.epsilon, list) else [table.epsilon]
    sound = bool(given)
    if not given:
        context.problems.add((*path, "epsilon"), "`epsilon` is an empty list.",
                             expected="at least one number > 0")  # fmt: skip
    for index, number in enumerate(given):
        place = (*path, "epsilon", index) if several else (*path, "epsilon")
        epsilon = read_epsilon(context, place, number, linf=table.norm == "linf")
        if epsilon is None:
            sound = False
            continue
        if (table.norm, epsilon.fraction) in seen:
            context.problems.add(
                place,
                f"`epsilon` {shown(number)} is there twice for {table.norm}.",
                expected="every pair of norm and epsilon once",
                remedy="remove one of them",
            )
        seen.add((table.norm, epsilon.fraction))
    return sound


def read_epsilon(
    context: Context, path: KeyPath, number: float | str, *, linf: bool
) -> Epsilon | None:
    """A size in pixel space with its text; None, and a problem noted, where it is not one."""
    expected = 'a number > 0, or a fraction as text such as "8/255"'
    try:
        epsilon = Epsilon.of(number)
    except ValueError:
        epsilon = Epsilon(math.nan, "")
    value = epsilon.value
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
    return epsilon
