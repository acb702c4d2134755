"""Minimum-norm attacks of adv-lib (Rony & Ben Ayed, adversarial-library)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from auditor.api import GRADIENT, PositiveInt, Surrogate, Task, attack, import_extra, param

from .bridge import as_module

_P = {"linf": math.inf, "l2": 2.0, "l1": 1.0}


@attack(
    name="advlib-fmn",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Pintor et al. 2021, arXiv:2102.12827, algorithm 1",
)
@dataclass(frozen=True)
class FMN:
    """Fast minimum-norm attack of adv-lib."""

    steps: PositiveInt = param(100, "gradient steps")
    minimises: ClassVar[bool] = True

    def passes(self, classes: int) -> tuple[int, int]:
        """One each per step."""
        return self.steps, self.steps

    def perturb(self, surrogate: Surrogate, task: Task) -> torch.Tensor:
        """The nearest adversarial images found."""
        attacks = import_extra("adv_lib.attacks", "advlib", "[[attack]]")
        p = _P[task.ball.norm.name]
        found: torch.Tensor = attacks.fmn(
            as_module(surrogate), task.x.float(), task.y, norm=p, steps=self.steps
        )
        return found.to(task.x.dtype)


@attack(
    name="advlib-ddn",
    norms={"l2"},
    needs=GRADIENT,
    reference="Rony et al. 2019, arXiv:1811.09600, algorithm 1",
)
@dataclass(frozen=True)
class DDN:
    """Decoupled direction and norm of adv-lib, without its rounding to grey levels."""

    steps: PositiveInt = param(100, "gradient steps")
    loss: ClassVar[str] = "cross-entropy"
    minimises: ClassVar[bool] = True

    def passes(self, classes: int) -> tuple[int, int]:
        """One each per step."""
        return self.steps, self.steps

    def perturb(self, surrogate: Surrogate, task: Task) -> torch.Tensor:
        """The nearest adversarial images found."""
        attacks = import_extra("adv_lib.attacks", "advlib", "[[attack]]")
        found: torch.Tensor = attacks.ddn(
            as_module(surrogate), task.x.float(), task.y, steps=self.steps, levels=None
        )
        return found.to(task.x.dtype)
