"""The images and models that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import torch

from auditor.config import AuditConfig, ModelConfig
from auditor.errors import UsageError
from auditor.maths.norms import NORMS, Ball
from auditor.parameters import path_kinds
from auditor.preflight import Maker, Preflight, left_in_training, preflight
from auditor.registry import Registry
from auditor.subject.copies import duplicate
from auditor.subject.loading import (
    Factory,
    Weights,
    fingerprint,
    load_module,
    load_stand_in,
    load_with,
)
from auditor.subject.samples import Images, Samples, choose_samples
from auditor.subject.victim import Normalize, Victim
from auditor.usercode.calls import raised_by_user_code


def load_samples(config: AuditConfig, registry: Registry) -> Samples:
    """The images that the configuration asks for.

    Raises:
        LoadError: they cannot be read or audited.
    """
    images = load_images(config, registry)
    samples = choose_samples(images, config.data.samples, config.run.seed, config.data.draw)
    _check_budgets(config, registry, samples)
    return samples


def _check_budgets(config: AuditConfig, registry: Registry, samples: Samples) -> None:
    """Refuse an epsilon that every change is within, or that float32 pixels cannot hold.

    Raises:
        UsageError: one of the built-in norms has such an epsilon.
    """
    black = torch.zeros(1, *samples.shape)
    for threat in config.threats:
        norm = registry.norms[threat.norm]
        if norm not in NORMS:
            continue
        diameter = float(norm.distance(torch.ones_like(black), black))
        smallest = Ball(norm, 0.0, black).rounding()
        shape = " × ".join(map(str, samples.shape))
        for epsilon in threat.epsilons:
            if epsilon.value > diameter:
                raise UsageError(
                    f"The epsilon {epsilon.text} is beyond every image: no two images of {shape} "
                    f"pixels in [0, 1] are further apart than {diameter:.4g} in {norm.name}.",
                    where="[[threat]] epsilon",
                    expected=f"a number > 0 and <= {diameter:.4g}",
                    remedy="epsilon is in pixel space, where pixels lie in [0, 1]; for grey levels "
                    "of 255 divide by 255",
                )
            if epsilon.value < smallest:
                raise UsageError(
                    f"The epsilon {epsilon.text} is lost in the rounding of float32 pixels, "
                    f"{smallest:.2g} in {norm.name} for images of {shape}.",
                    where="[[threat]] epsilon",
                    expected=f"a number >= {smallest:.2g}",
                    remedy="epsilon is in pixel space, where pixels lie in [0, 1]",
                )


def load_images(config: AuditConfig, registry: Registry) -> Images:
    """All images of the set that the configuration names.

    Raises:
        LoadError: they cannot be read.
    """
    adapter = registry.data[config.data.adapter].build(config.data.parameters)
    with raised_by_user_code(
        f"[data] adapter = {config.data.adapter!r}",
        "the data adapter",
        "images and labels",
        "check the keys of [data]; if they are right, the adapter is at fault",
    ):
        images: Images = adapter.load()
    return images


def load_stand_in_of(model: ModelConfig, victim: Victim) -> Victim | None:
    """The victim with the user's differentiable stand-in, `bpda`, in the place of its module.

    Raises:
        LoadError: it cannot be loaded.
    """
    if model.bpda is None:
        return None
    factory = Factory(model.bpda, model.paths["bpda"], model.bpda.rpartition(":")[2])
    return victim.with_module(load_stand_in(model.name, factory, duplicate(victim.module)))


@dataclass(frozen=True)
class Loaded:
    """A model as deployed, and what pre-flight has to know of how it was loaded."""

    victim: Victim
    #: What it was said to return.
    outputs: str
    maker: Maker
    #: The modules that were left in training mode.
    training: tuple[str, ...]
    #: What its loader says of it, and what had to be undone to read its weights.
    remarks: tuple[str, ...]
    #: What it was made from, beside its weights: files, folders, and names of modules.
    sources: tuple[Path | str, ...] = ()

    def look(self, samples: Samples, batch_size: int, expected_accuracy: float | None) -> Preflight:
        """What can be proved about it on the samples.

        Raises:
            LoadError: it fails on the data, or its output cannot be used.
        """
        return preflight(
            self.victim,
            samples,
            batch_size,
            outputs=self.outputs,
            expected_accuracy=expected_accuracy,
            training_modules=self.training,
            maker=self.maker,
            remarks=self.remarks,
        )


def _file_of(value: str, kinds: frozenset[str]) -> Path:
    return Path(value.rpartition(":")[0] if "factory" in kinds else value)


def load_victim(
    model: ModelConfig, device: torch.device, registry: Registry, batch_size: int | str = "auto"
) -> Loaded:
    """A model as deployed, to be asked about at most `batch_size` images at once.

    Raises:
        LoadError: it cannot be loaded.
    """
    files = model.paths
    weights = Weights(files.get("weights"), files.get("checkpoint"), model.checkpoint_key)
    if model.loader is None:
        source = files["factory"]
        factory = Factory(model.factory, source, model.factory.rpartition(":")[2])
        module, remarks = load_module(model.name, factory, dict(model.kwargs), weights)
        sources: list[Path | str] = [source]
    else:
        spec, parameters = registry.models[model.loader], model.parameters
        loader = spec.build(parameters)
        module, remarks = load_with(model.name, loader, weights, f"loader {model.loader}")
        hints = get_type_hints(spec.cls, include_extras=True)
        sources = [_file_of(value, path_kinds(hints[key])) for key, value in parameters.items()
                   if path_kinds(hints[key]) and isinstance(value, str)]  # fmt: skip
        with raised_by_user_code(f"loader {model.loader}", "the loader's files()", "paths"):
            sources += map(Path, loader.files()) if hasattr(loader, "files") else []
    training = left_in_training(module)
    normalize = model.normalize and Normalize(
        tuple(model.normalize.mean), tuple(model.normalize.std)
    )
    victim = Victim(
        model.name,
        module,
        precision=None if model.precision == "auto" else getattr(torch, model.precision),
        output_key=model.output_key,
        normalize=normalize or None,
        device=device,
        fingerprint=fingerprint(module, sources),
    )
    if isinstance(batch_size, int):
        victim.pieces.limit = batch_size
    maker: Maker = "factory" if model.loader is None else "loader"
    return Loaded(victim, model.outputs, maker, training, remarks, tuple(sources))
