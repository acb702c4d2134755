"""Images for Square, and a whole search without the engine."""

from __future__ import annotations

from dataclasses import replace

import torch
from auditor_plugins.square import Search, Square
from core_models import NORM, normal, uniform

from auditor.maths.norms import Ball
from auditor.maths.randomness import Noise
from auditor.protocols.attack import Observation, Task

#: Wide, tall, one row, one pixel, and smaller than the smallest window of l2; 1, 3 and 5 channels.
ODD_SHAPES = [(1, 5, 9), (3, 8, 4), (5, 1, 6), (3, 1, 1), (1, 2, 2)]


def noise_of(count: int, step=0) -> Noise:
    image = torch.arange(count)
    steps = torch.zeros_like(image) + step
    return Noise(0, ("test",), image, torch.zeros_like(image), steps, torch.float64)


def task_of(x, norm="linf", epsilon=0.1, step=0, origin=None) -> Task:
    noise = replace(noise_of(len(x), step), dtype=x.dtype)
    y = torch.zeros(len(x), dtype=torch.int64)
    return Task(
        x, y, Ball(NORM[norm], epsilon, x), (noise.step - 1).clamp(min=0), noise, origin=origin
    )


def path(attack: Square, x, norm: str, epsilon: float) -> list[Search]:
    """The states of a whole search for a linear function, whose best point often changes."""
    weights = normal(*x.shape[1:], seed=9, dtype=x.dtype)
    states = [attack.start(task_of(x, norm, epsilon))]
    while not states[-1].done.all():
        loss = (states[-1].x * weights).flatten(-3).sum(-1)
        task = task_of(x, norm, epsilon, len(states))
        states.append(attack.step(task, states[-1], Observation(loss[..., None], loss, None)))
    return states


def images(shape, place="at the box", count=6) -> torch.Tensor:
    x = uniform(count, *shape, seed=4)
    return (2 * x - 0.5).clamp(0, 1) if place == "at the box" else 0.3 + 0.4 * x
