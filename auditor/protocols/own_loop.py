"""The protocol of attacks that keep their own loop."""

from __future__ import annotations

from typing import Protocol

import torch

from auditor.protocols.attack import Task
from auditor.surrogate import Surrogate


class WholeAttack(Protocol):
    """An attack that keeps its own loop, such as one of another library.

    It is a frozen dataclass like any attack, with `perturb` in the place of `start` and `step`.
    The engine hands it images batch by batch, verifies what it returns, and starts it again on
    images that withstood as often as `restarts` (default 1) says. `loss`, `eot` and `minimises`
    are read as in `Attack`; `targets`, `points` and `jacobian` are not. What such an attack gives
    up: batches are not refilled, time budgets are looked at between batches only, and where it
    lets the images of a batch influence one another, or draws numbers for all of them from one
    generator, its results depend on the batch size. Global generators are seeded before each call,
    and put back after it.

    `passes(classes)` may say how many forward and backward passes it takes per image at most, for
    `auditor run --plan`; what it took is counted.
    """

    def perturb(self, surrogate: Surrogate, task: Task) -> torch.Tensor:
        """(B, C, H, W) candidates for the images `task.x`, like them in type and device.

        `surrogate.scores(x)` is a differentiable function of images. Whatever is returned is
        verified: a candidate that is outside the box or the ball, or not misclassified, counts as
        none.
        """
