"""Random search without any gradient: the control for every gradient attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from auditor.api import SCORES, Observation, PositiveInt, State, Task, attack, hookimpl, param


@attack(
    name="noise",
    norms={"linf", "l2", "l1"},
    any_norm=True,
    needs=SCORES,
    reference="Carlini et al. 2019, arXiv:1902.06705, section 4.3",
)
@dataclass(frozen=True)
class Noise:
    """Random points of the ball, in turn from its inside and from its corners.

    If this breaks images that a gradient attack does not, the gradient is at fault.
    """

    blind: ClassVar[bool] = True

    samples: PositiveInt = param(40, "random points per image")

    @property
    def steps(self) -> int:
        """One fewer than the points, for the start is one."""
        return self.samples - 1

    def start(self, task: Task) -> State:
        """A point of the inside."""
        return State(x=task.ball.sample(task.noise("inside")))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """Corners at odd draws, the inside at even ones (the start being draw 0)."""
        corner = (task.step % 2 == 0)[:, None, None, None]
        return State(
            x=torch.where(corner, self._corner(task), task.ball.sample(task.noise("inside")))
        )

    def _corner(self, task: Task) -> torch.Tensor:
        """The extreme point of ball and box in a random direction: in l-infinity a corner."""
        direction = task.noise("corner").normal(*task.x.shape[1:])
        return task.ball.project(task.ball.steepest(task.x, direction, task.ball.epsilon))


@hookimpl
def auditor_attacks() -> list[type]:
    """The noise control."""
    return [Noise]
