"""Resolves what is audited: the models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.config.context import Context
from auditor.config.paths import resolved_paths
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.schema.tables import LoadedModelConfig, ModelConfig, NormalizeConfig

#: Keys of a model to fill in, and what those that name files mean.
_Made = tuple[dict[str, Any], dict[str, Any]]

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_CONVERT = """write checkpoint = {path} in its place, which is read without running code;
              or convert the file once:
              import torch; from safetensors.torch import save_file
              state = torch.load({old!r}, map_location="cpu", weights_only=True)
              save_file({{k: v.contiguous() for k, v in state.items()}}, {new!r})"""


def resolve_models(context: Context, tables: Sequence[ModelConfig | None]) -> list[ModelConfig]:
    """[[model]], as far as they have no faults."""
    models = {
        index: model
        for index, table in enumerate(tables)
        if table and (model := _model(context, ("model", index), table))
    }
    first: dict[str, int] = {}
    for index, model in models.items():
        if model.name in first:
            context.problems.add(
                ("model", index, "name"),
                f'Two models are called "{model.name}".',
                expected="a name of its own for every [[model]]",
                remedy=f'write name = "..." here, other than "{model.name}"',
            )
        first.setdefault(model.name, index)
    return list(models.values())


def _model(context: Context, path: KeyPath, table: ModelConfig) -> ModelConfig | None:
    if isinstance(table, LoadedModelConfig):
        made = _by_loader(context, path, table)
    else:
        made = _by_factory(context, path, table)
    if made is None:
        return None
    keys, paths = made
    if table.checkpoint:
        paths["checkpoint"] = context.file(
            (*path, "checkpoint"), table.checkpoint, what="a file of torch.save"
        )
    _check_checkpoint(context, path, table)
    if table.weights:
        paths["weights"] = _weights(context, (*path, "weights"), table.weights)
    _check_normalize(context, (*path, "normalize"), table.normalize)
    if table.bpda:
        paths["bpda"] = context.source((*path, "bpda"), table.bpda.rpartition(":")[0])
    return table.completed(keys, paths)


def _check_checkpoint(context: Context, path: KeyPath, table: ModelConfig) -> None:
    """Weights come from one file, and a key needs the file that it is in."""
    if table.checkpoint is not None and table.weights is not None:
        context.problems.add(
            (*path, "checkpoint"),
            "`checkpoint` and `weights` cannot both be given.",
            expected="one file with the model's weights",
            remedy="remove one of them",
        )
    if table.checkpoint_key is not None and table.checkpoint is None:
        context.problems.add(
            (*path, "checkpoint_key"),
            "`checkpoint_key` is of no use without `checkpoint`.",
            expected='checkpoint = "file.pth"',
            remedy="add it, or remove `checkpoint_key`",
        )


def _by_factory(context: Context, path: KeyPath, table: ModelConfig) -> _Made:
    source, _, name = table.factory.rpartition(":")
    keys = {"name": table.name or name.rpartition(".")[2]}
    return keys, {"factory": context.source((*path, "factory"), source)}


def _by_loader(context: Context, path: KeyPath, table: LoadedModelConfig) -> _Made | None:
    if table.factory is not None:
        context.problems.add(
            (*path, "factory"),
            "`factory` and `loader` cannot both be given.",
            expected="one way to make the model",
            remedy="remove one of them",
        )
        return None
    spec = context.registry.models.get(table.loader)
    if spec is None:
        known = context.registry.models
        context.unknown((*path, "loader"), "model loader", table.loader, known)
        return None
    own = context.parameters(path, spec, table.written, f'The model loader "{spec.name}"')
    if own is None:
        return None
    return {"name": table.name or table.loader, **own}, resolved_paths(context, path, spec, own)


def _weights(context: Context, path: KeyPath, text: str) -> Path | None:
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
        remedy=_CONVERT.format(old=Path(text).name, new=new, path=shown(text))
        if pickle
        else "save the state_dict with safetensors.torch.save_file",
    )
    return None


def _check_normalize(context: Context, path: KeyPath, table: NormalizeConfig | None) -> None:
    if table is None:
        return
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
