"""APGD driven without the engine, and the papers' algorithms written for a single image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import core_reference as reference
import numpy as np
import torch
from auditor_plugins.apgd import APGD
from core_models import NORM, normal
from torch import nn

from auditor.maths.norms import Ball
from auditor.maths.objectives import choose_objective, margin
from auditor.maths.randomness import Noise
from auditor.protocols.attack import Observation, State, Task

# --- Driving the attack without the engine


@dataclass
class Trace:
    """What was evaluated, point after point."""

    states: list[State]
    losses: list[torch.Tensor]
    margins: list[torch.Tensor]
    ball: Ball

    @property
    def points(self) -> list[torch.Tensor]:
        return [state.x for state in self.states]

    def best_margin(self) -> np.ndarray:
        """(B,) the largest margin at a point of ball and box."""
        inside = [torch.stack(self.ball.contains(x)).all(0) for x in self.points]
        allowed = [torch.where(i, m, -torch.inf) for i, m in zip(inside, self.margins, strict=True)]
        return torch.stack(allowed).amax(0).numpy()


def observe(module: nn.Module, attack: APGD, x, y) -> Observation:
    x = x.clone().requires_grad_()
    z = module(x)
    loss = choose_objective(attack.loss, z.shape[1])(z, y)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return Observation(z.detach(), loss.detach(), gradient)


def task_of(x, y, norm: str, epsilon: float, seed=0, step=0, origin=None) -> Task:
    image = torch.arange(len(x))
    at = torch.full_like(image, step)
    noise = Noise(seed, ("test",), image, torch.zeros_like(image), at, x.dtype)
    return Task(x, y, Ball(NORM[norm], epsilon, x), at, noise, origin=origin)


def trace(attack: APGD, module: nn.Module, x, y, norm: str, epsilon: float, **options) -> Trace:
    """All points that the attack looks at, every image at the same iteration."""
    task = task_of(x, y, norm, epsilon, **options)
    state = attack.start(task)
    found = Trace([], [], [], task.ball)
    for step in range(attack.steps + 1):
        seen = observe(module, attack, state.x, y)
        found.states.append(state)
        found.losses.append(seen.loss)
        found.margins.append(margin(seen.logits, y))
        if step < attack.steps:
            now = task_of(x, y, norm, epsilon, **options, step=step)
            state = attack.step(replace(now, origin=None), state, seen)
    return found


# --- The papers' algorithms for a single image, in plain Python and float64


def objective_at(module: nn.Module, x: np.ndarray, shape, y: int) -> tuple[float, np.ndarray]:
    """Cross-entropy and its gradient."""
    point = torch.from_numpy(x).view(1, *shape).requires_grad_()
    loss = -module(point).log_softmax(1)[0, y]
    (gradient,) = torch.autograd.grad(loss, point)
    return loss.item(), gradient.flatten().numpy()


def algorithm_1(f, x0, start, epsilon, norm, steps, rho=0.75) -> list[np.ndarray]:
    """arXiv:2003.01690; the points x(0), ..., x(steps) at which f is evaluated.

    `f` gives value and gradient. At a checkpoint w, x(w) is replaced by x_max.
    """

    def project(x):
        return reference.projection(x, x0, epsilon, norm)

    def step(x, gradient, eta):
        size = np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)
        return project(x + eta * size)

    checks = paper_checkpoints(steps)
    x, values, gradients = [start], [], []
    eta, points = 2 * epsilon, [start]
    best, last_check, f_max_then, halved_then = 0, 0, None, False
    for k in range(steps):
        value, gradient = f(x[k])
        values.append(value)
        gradients.append(gradient)
        if value > values[best]:
            best = k
        if k == 0:
            f_max_then = value
        if k in checks:
            window = range(last_check, k)
            rises = sum(values[i + 1] > values[i] for i in window)
            first = rises < rho * len(window)
            second = not halved_then and f_max_then == values[best]
            halved_then, f_max_then, last_check = first or second, values[best], k
            if halved_then:
                eta /= 2
                x[k], values[k], gradients[k] = x[best], values[best], gradients[best]
                best = k
        z = step(x[k], gradients[k], eta)
        if k > 0:
            z = project(x[k] + 0.75 * (z - x[k]) + 0.25 * (x[k] - x[k - 1]))
        x.append(z)
        points.append(z)
    return points


def paper_checkpoints(steps: int) -> set[int]:
    p = [Fraction(0), Fraction(22, 100)]
    while p[-1] < 1:
        p.append(p[-1] + max(p[-1] - p[-2] - Fraction(3, 100), Fraction(6, 100)))
    return {math.ceil(share * steps) for share in p[1:]}


def l1_algorithm(f, x0, start, epsilon, steps) -> list[np.ndarray]:
    """arXiv:2103.01208, with radii of 3, 2 and 1 epsilon; the points evaluated.

    Unlike in the paper, pixels that have reached the box count nowhere, and a phase begins with a
    step from x_max.
    """
    ends = {math.ceil(0.3 * steps): 2 * epsilon, math.ceil(0.6 * steps): epsilon}
    points, radius, begin = [start], 3 * epsilon, 0
    f_max, before = -math.inf, None
    for k in range(steps):
        x = points[k]
        value, gradient = f(x)
        if value > f_max:
            f_max, x_max, gradient_max = value, x, gradient
        if (k - begin) % math.ceil(0.04 * steps) == 0:
            changed = sum(
                abs(pixel - clean_pixel) > 1e-6 and 1e-6 < pixel < 1 - 1e-6
                for pixel, clean_pixel in zip(x_max, x0, strict=True)
            )
            if before is None or changed < 0.95 * before:
                eta, x, gradient = radius, x_max, gradient_max
            else:
                eta = max(eta / 1.5, radius / 10)
            before = changed
        if k + 1 in ends:
            x, gradient = x_max, gradient_max
            radius, begin, f_max, before = ends[k + 1], k + 1, -math.inf, None
        step = sparse_direction(x, gradient, round(changed / 1.5))
        points.append(reference.projection(x + eta * step, x0, radius, "l1"))
    return points


def sparse_direction(x: np.ndarray, gradient: np.ndarray, count: int) -> np.ndarray:
    """Signs of the largest slopes, until `count` of them have room in the box; over `count`."""
    step, left = np.zeros_like(x), count
    for pixel in np.argsort(-np.abs(gradient)):
        if not left:
            break
        up = gradient[pixel] > 0
        step[pixel] = (1 if up else -1) / count
        left -= (1 - x[pixel] if up else x[pixel]) > 1e-6
    return step


# --- A model whose best points a grid finds


class Hill(nn.Module):
    """One smooth hill over two pixels, and the label's logit, which is larger everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.M = nn.Parameter(normal(2, 2, seed=4))
        self.top = nn.Parameter(torch.tensor([0.7, 0.35], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = -((x.flatten(1) - self.top) @ self.M).square().sum(1)
        return torch.stack([z, torch.ones_like(z)], 1)
