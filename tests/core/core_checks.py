"""Small models behind masks, and a probe with the engine behind it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from auditor_plugins.apgd import APGD
from core_models import NORM, SmallCNN, uniform
from torch import nn

from auditor.attacking.outcome import Block
from auditor.masking.probe import EngineProbe, Fallen
from auditor.protocols.check import Symptom
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, naive

#: Radii at which attacks break about half of the images of `CNN`.
EPSILON = {"linf": 0.025, "l2": 0.15, "l1": 0.6}
IMAGES = uniform(60, 1, 8, 8, seed=3, dtype=torch.float32)


def cnn() -> nn.Module:
    """An honest smooth network."""
    return SmallCNN(IMAGES)


class Mask(nn.Module):
    """Functions before and after a model."""

    def __init__(
        self,
        before: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
        after: Callable[[torch.Tensor], torch.Tensor] = lambda z: z,
    ) -> None:
        super().__init__()
        self.before, self.inner, self.after = before, cnn(), after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.inner(self.before(x)))


def stairs(x: torch.Tensor) -> torch.Tensor:
    """Grey levels 1 / 60 apart."""
    return (x * 60).round() / 60


def blinded(x: torch.Tensor) -> torch.Tensor:
    """A gradient of zero."""
    return x.detach() + 0 * x


def flipped(x: torch.Tensor) -> torch.Tensor:
    """A gradient of the wrong sign."""
    return 2 * x.detach() - x


def decision(z: torch.Tensor) -> torch.Tensor:
    """One for the class that wins."""
    return nn.functional.one_hot(z.argmax(1), z.shape[1]).to(z.dtype) + 0 * z


SYMPTOM = Symptom("gradient", "Odd gradient", "look")


def probe_of(
    module: nn.Module,
    *,
    norm: str = "linf",
    x: torch.Tensor = IMAGES,
    epsilon: float | None = None,
    draws: int = 1,
    has_gradient: bool = True,
    fallen: Fallen | None = None,
    **options: Any,
) -> EngineProbe:
    """A probe of a model that is right on all images."""
    victim = Victim("model", module, **options.pop("victim", {}))
    victim.draws, victim.seeded = draws, draws > 1
    victim.begin("clean")
    y = victim.judge(x, torch.zeros(len(x), dtype=torch.int64)).prediction
    with torch.no_grad():
        classes = victim.logits(x[:1]).shape[1]
    model = SimpleNamespace(
        victim=victim,
        surrogate=naive(victim),
        preflight=SimpleNamespace(classes=classes, has_gradient=has_gradient),
    )
    options.setdefault("others", {})
    options.setdefault("stand_in", None)
    options.setdefault("known", ())
    return EngineProbe(
        label=options.pop("label", "check"),
        block=Block(x, y, torch.arange(len(x))),
        model=model,  # type: ignore[arg-type]
        norm=NORM[norm],
        epsilon=EPSILON[norm] if epsilon is None else epsilon,
        seed=0,
        batch_size=256,
        standing=fallen or Fallen.nothing(len(x), x.device),
        **options,
    )


def battle(probe: EngineProbe) -> EngineProbe:
    """What a short battery of gradient attacks does before the checks."""
    if probe.has_gradient:
        for loss in ("cross-entropy", "margin"):
            rows = probe.survivors()
            if len(rows):
                probe.attack(f"battery {loss}", APGD(steps=25, loss=loss), rows)
    return probe


def hidden(probe: EngineProbe) -> int:
    """Images that only attacks which distrust the gradient broke."""
    return int((probe.fallen() & ~probe.fallen("gradient")).sum())


def other(module: nn.Module) -> Surrogate:
    """A surrogate of another model."""
    return naive(Victim("other", module))
