"""Attacks with targets, and an attack that writes down what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from core_pool import toy

from auditor.protocols.attack import GRADIENT, Observation, State, Task


@dataclass(frozen=True)
class Line:
    """What one lane was given at one call."""

    #: The row of the images that `Diary` knows.
    row: int
    target: int | None
    restart: int
    step: int
    noise: tuple[float, ...]
    origin: torch.Tensor | None
    #: The point it proposed.
    x: torch.Tensor


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class Aimed:
    """Steepest steps towards each target from a random start, and a diary of them."""

    targets: int = 3
    restarts: int = 2
    steps: int = 2
    loss: str = "margin"
    #: (n, C, H, W) the images, to tell their rows; None keeps no diary.
    images: torch.Tensor | None = None
    diary: list[Line] = field(default_factory=list)
    seen: list[tuple[Task, State, Observation]] = field(default_factory=list)

    def start(self, task: Task) -> State:
        x = task.ball.sample(task.noise("start")) if task.origin is None else task.origin.clone()
        return self._noted(task, x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        assert seen.gradient is not None
        if self.images is not None:
            self.seen.append((task, State(state.x.clone()), seen))
        length = 2.5 * task.ball.epsilon / self.steps
        x = task.ball.project(task.ball.steepest(state.x, seen.gradient, length))
        return self._noted(task, x)

    def _noted(self, task: Task, x: torch.Tensor) -> State:
        if self.images is None:
            return State(x)
        noise = task.noise("diary").uniform(3)
        rows = {tuple(image): row for row, image in enumerate(self.images.flatten(1).tolist())}
        for lane, image in enumerate(task.x.flatten(1).tolist()):
            self.diary.append(
                Line(
                    rows[tuple(image)],
                    None if task.target is None else int(task.target[lane]),
                    int(task.restart[lane]),
                    int(task.step[lane]),
                    tuple(noise[lane].tolist()),
                    None if task.origin is None else task.origin[lane].clone(),
                    x[lane].clone(),
                )
            )
        return State(x)


def margins(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """max_{i != y} z_i - z_y, image by image and class by class."""
    with torch.no_grad():
        z = module(x).tolist()
    return [
        max(score for k, score in enumerate(row) if k != label) - row[label]
        for row, label in zip(z, y.tolist(), strict=True)
    ]
