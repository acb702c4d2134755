"""Gradient attacks that start at the clean image: ten lengths of one step, and many steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from auditor_plugins.pgd import PGD

from auditor.api import (
    GRADIENT,
    ObjectiveName,
    Observation,
    PositiveInt,
    State,
    Task,
    attack,
    param,
)


@dataclass
class Scan(State):
    """Where the whole step leads."""

    #: (B, C, H, W).
    end: torch.Tensor


@attack(
    name="gradient-ray",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Kim et al. 2021, arXiv:2010.01799, section 3 (distorted intervals)",
)
@dataclass(frozen=True)
class GradientRay:
    """Looks along the step of FGSM, in equal parts, from its end inwards.

    After single-step training an image may be wrong in the middle of the step and right at its end.
    """

    steps: PositiveInt = param(10, "parts of the step")
    loss: ObjectiveName = param("cross-entropy", "objective whose gradient is followed")

    def start(self, task: Task) -> Scan:
        """At the clean image."""
        return Scan(task.x, task.x)

    def step(self, task: Task, state: State, seen: Observation) -> Scan:
        """The whole step, then nine tenths of it, and so on."""
        assert isinstance(state, Scan)
        assert seen.gradient is not None
        whole = task.ball.project(task.ball.steepest(task.x, seen.gradient, task.ball.epsilon))
        end = torch.where((task.step == 0)[:, None, None, None], whole, state.end)
        part = (1 - task.step / self.steps).to(end.dtype)[:, None, None, None]
        return Scan(task.ball.project(torch.lerp(task.x, end, part)), end)


@attack(
    name="pgd-from-image",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Kurakin et al. 2017, arXiv:1607.02533, section 2.2",
)
@dataclass(frozen=True)
class FromImage(PGD):
    """PGD from the clean image: in a large ball a random start alone would change the answer."""

    def start(self, task: Task) -> State:
        """At the clean image."""
        return State(x=task.x)
