"""Resolves what is audited: run, models, data and threats."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, get_type_hints

from auditor.config.context import Context
from auditor.config.model import (
    DataConfig,
    Epsilon,
    ModelConfig,
    Normalize,
    RunConfig,
    ThreatConfig,
)
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.config.schema import DataTable, ModelTable, NormalizeTable, RunTable, ThreatTable
from auditor.quantities import parse_number, path_kinds

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_CONVERT = """convert the file once, where you trust it:
              import torch; from safetensors.torch import save_file
              state = torch.load({old!r}, map_location="cpu", weights_only=True)
              save_file({{k: v.contiguous() for k, v in state.items()}}, {new!r})"""
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


def resolve_models(context: Context, tables: Sequence[ModelTable | None]) -> list[ModelConfig]:
    """[[model]], as far as they have no faults."""
    models = [_model(context, ("model", index), table)
              for index, table in enumerate(tables) if table]  # fmt: skip
    places = [index for index, table in enumerate(tables) if table]
    first: dict[str, int] = {}
    for index, model in zip(places, models, strict=True):
        if model.name in first:
            context.problems.add(
                ("model", index, "name"),
                f'Two models are called "{model.name}".',
                expected="a name of its own for every [[model]]",
                remedy=f'write name = "..." here, other than "{model.name}"',
            )
        first.setdefault(model.name, index)
    return models


def _model(context: Context, path: KeyPath, table: ModelTable) -> ModelConfig:
    source, _, callable_name = table.factory.rpartition(":")
    is_file = source.endswith(".py")
    return ModelConfig(
        name=table.name or callable_name.rpartition(".")[2],
        factory=table.factory,
        factory_path=(
            context.file((*path, "factory"), source, what="a Python file") if is_file else None
        ),
        factory_module=None if is_file else source,
        factory_callable=callable_name,
        kwargs=dict(table.kwargs),
        weights=_weights(context, (*path, "weights"), table.weights),
        weights_text=table.weights,
        outputs=table.outputs,
        precision=table.precision,
        normalize=_normalize(context, (*path, "normalize"), table.normalize),
        bpda=table.bpda,
        bpda_path=_stand_in(context, (*path, "bpda"), table.bpda),
    )


def _stand_in(context: Context, path: KeyPath, text: str | None) -> Path | None:
    source = (text or "").rpartition(":")[0]
    return context.file(path, source, what="a Python file") if source.endswith(".py") else None


def _weights(context: Context, path: KeyPath, text: str | None) -> Path | None:
    if text is None:
        return None
    suffix = Path(text).suffix.lower()
    if suffix == ".safetensors":
        return context.file(path, text, what="a .safetensors file")
    pickle = suffix in _PICKLES
    new = Path(text).with_suffix(".safetensors").name
    context.problems.add(
        path,
        f"The weights {shown(text)} are a pickle, which could run code when it is opened."
        if pickle
        else f"The weights {shown(text)} are not a .safetensors file.",
        expected="a .safetensors file",
        remedy=_CONVERT.format(old=Path(text).name, new=new)
        if pickle
        else "save the state_dict with safetensors.torch.save_file",
    )
    return None


def _normalize(context: Context, path: KeyPath, table: NormalizeTable | None) -> Normalize | None:
    if table is None:
        return None
    if len(table.mean) != len(table.std) or not table.mean:
        context.problems.add(
            path,
            f"`mean` has the length {len(table.mean)} and `std` has the length {len(table.std)}.",
            expected="one number per channel in each, such as 1 for grey and 3 for colour images",
        )
    for index, number in enumerate(table.std):
        if number <= 0:
            context.problems.add(
                (*path, "std", index), f"`std` cannot hold {shown(number)}.", expected="numbers > 0"
            )
    return Normalize(tuple(table.mean), tuple(table.std))


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
    hints = get_type_hints(spec.cls, include_extras=True)
    resolved = {
        key: _resolved(context, ("data", key), value, path_kinds(hints[key]))
        for key, value in written.items()
    }
    return DataConfig(table.adapter, resolved, written, table.samples, table.expected_accuracy)


def _resolved(context: Context, path: KeyPath, value: Any, kinds: frozenset[str]) -> Any:
    """A plugin's parameter, made absolute where it is a path; a problem is noted if it is amiss."""
    if path[-1] == "path" and not kinds:  # plain text under this name may be a file or a folder
        kinds = frozenset({"file", "folder"})
    if not kinds or not isinstance(value, str):
        return value
    if "factory" in kinds:
        return _factory(context, path, value)
    found = (context.directory / value).absolute()
    if "file" in kinds:
        folder_too = "folder" in kinds
        if folder_too and found.is_dir():
            return str(found)
        what = "the file or directory of the images" if folder_too else "a file"
        return str(context.file(path, value, what=what))
    if not found.is_dir():
        context.problems.add(
            path,
            f"The folder {shown(value)} {'is a file' if found.exists() else 'does not exist'}.",
            expected=f"a folder, relative to the directory of {context.problems.source.path.name}",
        )
    return str(found)


def _factory(context: Context, path: KeyPath, text: str) -> str:
    source, _, name = text.rpartition(":")
    if not source or not name:
        context.problems.add(
            path,
            f"`{path[-1]}` cannot be {shown(text)}.",
            expected='"file.py:callable" or "package.module:callable"',
        )
        return text
    if not source.endswith(".py"):
        return text
    return f"{context.file(path, source, what='a Python file')}:{name}"


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
