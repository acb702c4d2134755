"""Resolves what is audited: the models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.config.context import Context
from auditor.config.model import ModelConfig, Normalize
from auditor.config.paths import resolved_paths
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.config.schema import LoadedModelTable, ModelTable, NormalizeTable

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_CONVERT = """write checkpoint = {path} in its place, which is read without running code;
              or convert the file once:
              import torch; from safetensors.torch import save_file
              state = torch.load({old!r}, map_location="cpu", weights_only=True)
              save_file({{k: v.contiguous() for k, v in state.items()}}, {new!r})"""


def resolve_models(context: Context, tables: Sequence[ModelTable | None]) -> list[ModelConfig]:
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


def _model(context: Context, path: KeyPath, table: ModelTable) -> ModelConfig | None:
    if isinstance(table, LoadedModelTable):
        made = _by_loader(context, path, table)
    else:
        made = _by_factory(context, path, table)
    if made is None:
        return None
    checkpoint = table.checkpoint and context.file(
        (*path, "checkpoint"), table.checkpoint, what="a file of torch.save"
    )
    _check_checkpoint(context, path, table)
    return ModelConfig(
        weights=_weights(context, (*path, "weights"), table.weights),
        weights_text=table.weights,
        checkpoint=checkpoint or None,
        checkpoint_text=table.checkpoint,
        checkpoint_key=table.checkpoint_key,
        output_key=table.output_key,
        outputs=table.outputs,
        precision=table.precision,
        normalize=_normalize(context, (*path, "normalize"), table.normalize),
        bpda=table.bpda,
        bpda_path=_stand_in(context, (*path, "bpda"), table.bpda),
        **made,
    )


def _check_checkpoint(context: Context, path: KeyPath, table: ModelTable) -> None:
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


def _by_factory(context: Context, path: KeyPath, table: ModelTable) -> dict[str, Any]:
    """What a Python factory's table says of where the model comes from."""
    assert table.factory is not None  # only a loader's table may leave it out
    source, _, callable_name = table.factory.rpartition(":")
    if source.endswith(".py"):
        file: Path | None = context.file((*path, "factory"), source, what="a Python file")
    else:
        file = context.module_file(source)
    return {
        "name": table.name or callable_name.rpartition(".")[2],
        "factory": table.factory,
        "factory_path": file,
        "factory_module": None if file else source,
        "factory_callable": callable_name,
        "kwargs": dict(table.kwargs or {}),
    }


def _by_loader(context: Context, path: KeyPath, table: LoadedModelTable) -> dict[str, Any] | None:
    """The same of a loader's table; None if its keys do not fit."""
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
    given: dict[str, Any] = dict(table.model_extra or {})
    if table.kwargs is not None:
        given["kwargs"] = dict(table.kwargs)
    written = context.parameters(path, spec, given, f'The model loader "{spec.name}"')
    if written is None:
        return None
    return {
        "name": table.name or table.loader,
        "loader": table.loader,
        "loader_parameters": resolved_paths(context, path, spec, written),
        "loader_written": written,
    }


def _stand_in(context: Context, path: KeyPath, text: str | None) -> Path | None:
    source = (text or "").rpartition(":")[0]
    if source.endswith(".py"):
        return context.file(path, source, what="a Python file")
    return context.module_file(source) if source else None


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
        remedy=_CONVERT.format(old=Path(text).name, new=new, path=shown(text))
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
