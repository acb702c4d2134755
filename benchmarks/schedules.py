"""Two published schedules that the cascade is compared with, as plain stages of this engine.

MM ("minimum margin") aims at a few classes in the order of the clean logits. A3 (adaptive auto
attack, arXiv:2203.05154) spends its rounds on the images that came closest. Both are built from
what is published about their schedules, on this project's steps, projections and verification; they
are not their authors' programs.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from auditor_plugins.apgd import APGD
from torch import Tensor, nn

from auditor.api import GRADIENT, Brief, Observation, Stage, Standing, State, Task, attack, param

#: A3: the fraction of the survivors kept in a round, the closest ones, and the steps of the round.
ROUNDS = ((0.7, 25), (0.6, 30), (0.5, 30), (0.4, 35), (0.3, 40), (0.2, 45), (0.1, 50))
#: The rounds at the end: fraction, steps, restarts.
LAST = ((0.1, 50, 4), (0.065, 55, 4), (0.03, 60, 50))
#: Steps along a direction of the logits before each of the first rounds.
DIRECTED = 7
#: MM's targets and steps.
CLASSES, STEPS = 5, 20


@attack(name="mm", norms={"linf", "l2", "l1"}, needs=GRADIENT, reference="MM, with 5 classes")
@dataclass(frozen=True)
class MM:
    """APGD-20 on z_t - z_y at the five likeliest wrong classes in turn, a new start each."""

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """One stage: the lanes of an image follow one another until one succeeds."""
        rivals = brief.rivals(CLASSES)
        image = torch.arange(len(brief.y)).repeat_interleave(rivals.shape[1])
        turn = torch.arange(rivals.shape[1]).repeat(len(brief.y))
        yield Stage("MM", APGD(steps=STEPS, loss="margin"), image, target=rivals.flatten(),
                    restart=turn, turn=turn)  # fmt: skip

    def passes(self, classes: int) -> tuple[int, int]:
        """Of an image that withstands."""
        aims = min(CLASSES, classes - 1)
        return 1 + aims * (STEPS + 1), aims * STEPS


@attack(name="cosine-pgd", norms={"linf", "l2"}, needs=GRADIENT, reference="arXiv:2203.05154")
@dataclass(frozen=True)
class CosinePGD:
    """Ascent of the margin with steps epsilon (1 + cos(pi t / T)) / 2."""

    steps: int = param(25, "gradient steps")
    loss: str = param("margin", "objective to maximise")

    def start(self, task: Task) -> State:
        """The task's origin, or else a random point of the ball."""
        return State(
            x=task.ball.sample(task.noise("start")) if task.origin is None else task.origin
        )

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """x <- P(x + steepest(gradient)), shorter at every step."""
        assert seen.gradient is not None
        x = state.x.clone()
        for step in task.step.unique().tolist():  # a length is one for all images it is given for
            length = task.ball.epsilon * (1 + math.cos(math.pi * step / self.steps)) / 2
            now = task.step == step
            x[now] = task.ball.steepest(state.x[now], seen.gradient[now], length)
        return State(x=task.ball.project(x))


@attack(name="a3", norms={"linf", "l2"}, needs=GRADIENT, reference="arXiv:2203.05154")
@dataclass(frozen=True)
class A3:
    """A3's schedule; the directed starts are made here, on the model itself, for stages cannot."""

    model: nn.Module
    seed: int = 0

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """Rounds on ever fewer of the closest, then many restarts on the very closest."""
        generator = torch.Generator().manual_seed(self.seed)
        margin = _margin(brief)
        fallen = torch.zeros(len(brief.y), dtype=torch.bool)
        bias = 0.0
        for number, (part, steps) in enumerate(ROUNDS):
            rows = _closest(margin, fallen, part)
            if not len(rows):
                return
            direction = _direction(brief, rows, bias, generator)
            origin = self._directed(brief, rows, direction, generator)
            restart = torch.full_like(rows, number)
            standing = yield Stage("A3 rounds", CosinePGD(steps), rows, restart=restart,
                                   origin=origin)  # fmt: skip
            won = standing.fallen[rows]
            if won.any():
                true = direction.gather(1, brief.y[rows, None])[:, 0]
                bias = float(true[won].mean().sign())
            margin, fallen = standing.margin, standing.fallen
        for number, (part, steps, restarts) in enumerate(LAST):
            rows = _closest(margin, fallen, part)
            if not len(rows):
                return
            turn = torch.arange(restarts).repeat(len(rows))
            standing = yield Stage("A3 restarts", CosinePGD(steps),
                                   rows.repeat_interleave(restarts),
                                   restart=100 * (1 + number) + turn, turn=turn)  # fmt: skip
            margin, fallen = standing.margin, standing.fallen

    def passes(self, classes: int) -> tuple[int, int]:
        """Of an image that withstands every round."""
        steps = sum(steps + DIRECTED for _, steps in ROUNDS)
        steps += sum(steps * restarts for _, steps, restarts in LAST)
        return steps, steps

    def _directed(
        self, brief: Brief, rows: Tensor, direction: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Points (m, C, H, W) after a few steps that raise the logits along `direction` (m, K)."""
        ball = type(brief.ball)(brief.ball.norm, brief.ball.epsilon, brief.x[rows])
        noise = torch.rand(ball.x0.shape, generator=generator) * 2 - 1
        points = ball.project(ball.x0 + ball.epsilon * noise)
        for _ in range(DIRECTED):
            points = points.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad((self.model(points) * direction).sum(), points)
            points = ball.project(ball.steepest(points.detach(), slope, ball.epsilon))
        return points.detach()


def _margin(brief: Brief) -> Tensor:
    """(n,) float64 margins of the clean images."""
    z = brief.logits.double()
    true = z.gather(1, brief.y[:, None])[:, 0]
    return z.scatter(1, brief.y[:, None], -torch.inf).amax(1) - true


def _closest(margin: Tensor, fallen: Tensor, part: float) -> Tensor:
    """(m,) rows of the survivors with the largest margins, at least one of them."""
    alive = (~fallen).nonzero().flatten()
    order = margin[alive].argsort(descending=True, stable=True)
    return alive[order[: math.ceil(part * len(alive))]].sort().values


def _direction(brief: Brief, rows: Tensor, bias: float, generator: torch.Generator) -> Tensor:
    """(m, K) uniform in [-1, 1]; the true class's sign as in those directions that succeeded."""
    direction = torch.rand((len(rows), brief.classes), generator=generator) * 2 - 1
    if bias:
        true = brief.y[rows, None]
        direction.scatter_(1, true, bias * direction.gather(1, true).abs())
    return direction


def schedules(model: nn.Module, seed: int) -> dict[str, Any]:
    """The two, by the names of the tables."""
    return {"MM (5 classes)": MM(), "A3's schedule": A3(model, seed)}
