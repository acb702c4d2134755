"""What an attack maximises: functions of the logits (B, K), the labels (B,), perhaps targets (B,).

Each returns (B,) losses that grow as an image comes closer to being misclassified (or, with
targets, to being classified as its target). Notation: z are the logits, z_(1) >= z_(2) >= ... the
sorted ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

ObjectiveName = Literal["cross-entropy", "margin", "probability-margin", "dlr"]
OBJECTIVE_NAMES: tuple[str, ...] = get_args(ObjectiveName)

#: Keeps the ratio of DLR finite where all logits agree (as in the paper).
_DLR_GUARD = 1e-12

Loss = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor | None"], "torch.Tensor"]


def _picked(z: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return z.gather(1, index[:, None])[:, 0]


def _rival(z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None) -> torch.Tensor:
    """The logit to be raised: the target's, or else the largest of a wrong class."""
    if target is not None:
        return _picked(z, target)
    return z.scatter(1, y[:, None], -torch.inf).amax(1)


def margin(z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
    """max_{i != y} z_i - z_y (Carlini & Wagner 2017, f_6): positive exactly when misclassified."""
    return _rival(z, y, target) - _picked(z, y)


def cross_entropy(
    z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None
) -> torch.Tensor:
    """-log softmax(z)_y; with targets log softmax(z)_target."""
    if target is not None:
        return -torch.nn.functional.cross_entropy(z, target, reduction="none")
    return torch.nn.functional.cross_entropy(z, y, reduction="none")


def probability_margin(
    z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None
) -> torch.Tensor:
    """max_{i != y} p_i - p_y with p = softmax(z) (arXiv:2411.15210, eq. 5)."""
    return margin(z.softmax(1), y, target)


def dlr(z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
    """Difference of logits ratio (arXiv:2003.01690, eqs. 6 and 7); 3 classes, 4 with targets."""
    top = z.topk(3 if target is None else 4, dim=1).values
    lowest = top[:, 2] if target is None else (top[:, 2] + top[:, 3]) / 2
    return margin(z, y, target) / (top[:, 0] - lowest + _DLR_GUARD)


_LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "margin": margin,
    "probability-margin": probability_margin,
    "dlr": dlr,
}


@dataclass(frozen=True)
class Objective:
    """A loss fit for a number of classes.

    `name` is what is computed; `note` says why when that is not what was asked for.
    """

    name: str
    loss: Loss
    note: str = ""

    def __call__(
        self, z: torch.Tensor, y: torch.Tensor, target: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B,) losses."""
        return self.loss(z, y, target)


def choose_objective(name: str, classes: int, *, targeted: bool = False) -> Objective:
    """The objective called `name`, or its nearest that exists for so few classes.

    DLR divides by the distance to the third logit (targeted: the third and fourth), so with 2 (3)
    classes it is undefined; the margin, its numerator, takes its place.
    """
    needed = 4 if targeted else 3
    if name == "dlr" and classes < needed:
        kind = "targeted DLR" if targeted else "DLR"
        note = f"{kind} needs {needed} classes and the model has {classes}: margin is used instead"
        return Objective("margin", margin, note)
    return Objective(name, _LOSSES[name])
