"""Linear victims, logits = W x + b, on which the best margin and the distance are known."""

from __future__ import annotations

import core_reference as reference
import numpy as np
import torch
from core_models import linear_victim, normal, run_attack, uniform
from scipy.optimize import brentq

from auditor.attacking.pool import Block
from auditor.subject.victim import Victim

IMAGES = 8
SHAPES = [(1, 5, 7), (3, 6, 4)]
RADIUS = {"linf": 0.03, "l2": 0.25, "l1": 1.5}


def clean(shape: tuple[int, ...], place: str) -> torch.Tensor:
    if place == "inside":
        return 0.3 + 0.4 * uniform(IMAGES, *shape, seed=1)
    x = (2 * uniform(IMAGES, *shape, seed=1) - 0.5).clamp(0, 1)
    assert ((x == 0) | (x == 1)).double().mean() > 0.4
    return x


def safe_radius(norm: str, place: str) -> float:
    return RADIUS[norm] * (1 if place == "inside" else 3)


def rival_optimum(
    victim: Victim, x: torch.Tensor, y: int, k: int, radius: float, norm: str
) -> float:
    """max of z_k - z_y over ball and box around one image."""
    W, b = victim.module.W.double().numpy(), victim.module.b.double().numpy()
    direction, image = W[k] - W[y], x.double().flatten().numpy()
    here = float(direction @ image + b[k] - b[y])
    return here + reference.best_gain(direction, image, radius, norm)


def optimum(
    victim: Victim, x: torch.Tensor, y: torch.Tensor, radius: float, norm: str
) -> np.ndarray:
    """(B,) max over rivals of the best margin."""
    classes = len(victim.module.b)
    return np.array(
        [
            max(
                rival_optimum(victim, image, label, k, radius, norm)
                for k in range(classes)
                if k != label
            )
            for image, label in zip(x, y.tolist(), strict=True)
        ]
    )


def dominated(
    classes: int, x: torch.Tensor, radius: float, norm: str
) -> tuple[Victim, torch.Tensor]:
    """A linear victim and labels, such that one rival leads everywhere in the ball, yet never wins.

    The label's lead over class 1 is the best gain times 1.2 to 2; all other classes are far below.
    """
    W = normal(classes, x[0].numel(), seed=2)
    y = torch.zeros(len(x), dtype=torch.int64)
    b = torch.zeros(classes, dtype=torch.float64)
    b[2:] = -1e3
    difference = (W[1] - W[0]).numpy()
    gains = [reference.best_gain(difference, one.flatten().numpy(), radius, norm) for one in x]
    here = x.flatten(1) @ (W[1] - W[0])
    b[1] = -float((here + 1.2 * torch.tensor(gains)).max())
    return linear_victim(W, b), y


def relative_to_the_gain(victim, block, reached, best) -> np.ndarray:
    """How far an attack stays behind, as a share of what the optimum gains over the clean image."""
    with torch.no_grad():
        z = victim.logits(block.x)
    clean_margin = (z.scatter(1, block.y[:, None], -torch.inf).amax(1)
                    - z.gather(1, block.y[:, None])[:, 0]).numpy()  # fmt: skip
    return (best - reached) / (best - clean_margin)


def check(victim: Victim, attack, block: Block, radius: float, norm: str, tolerance: float) -> None:
    outcome = run_attack(victim, attack, block, norm, radius).outcome
    assert not outcome.broken.any()
    best = optimum(victim, block.x, block.y, radius, norm)
    assert (best < 0).all()
    gap = relative_to_the_gain(victim, block, outcome.margin.numpy(), best)
    assert (gap <= tolerance).all(), gap
    assert (gap >= -1e-9).all(), "an attack cannot be better than the optimum"


def distance_to_the_hyperplane(victim: Victim, x: torch.Tensor, y: int, norm: str) -> float:
    """The smallest radius at which the best margin inside the box is zero."""
    return brentq(
        lambda radius: rival_optimum(victim, x, y, 1 - y, radius, norm), 1e-9, 1e3, xtol=1e-12
    )
