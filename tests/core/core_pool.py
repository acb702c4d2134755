"""Images, attacks and comparisons that the tests of the pool share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from auditor_plugins.fgsm import FGSM, RandomFGSM
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_models import linear_victim, uniform

from auditor.attacking.outcome import Block, Outcome
from auditor.maths.norms import NORMS
from auditor.protocols.attack import SCORES, Observation, State, Task, attack
from auditor.subject.victim import Victim

N = 24
X = uniform(N, 1, 8, 9, seed=1)
IDS = 10_000 - 37 * torch.arange(N)
EPSILON = {"linf": 0.02, "l2": 0.15, "l1": 0.4}
ALL_NORMS = {norm.name for norm in NORMS}
ATTACKS = [FGSM(), RandomFGSM(), PGD(steps=6, restarts=3, loss="margin"), Noise(samples=10)]
#: What may be compared image by image. Gradients are evaluated for whole batches, so that backward
#: passes at an image's last point depend on whether its neighbours still go on.
COLUMNS = ("broken", "broken_8bit", "prediction", "forwards")
MEASURED = ("margin", "loss", "distance", "confidence", "adversarial")


def toy(**options):
    """A decorated attack of the tests."""
    options = {"name": "toy", "norms": ALL_NORMS, "needs": SCORES, "reference": "none", **options}
    return attack(**options)


def assert_same(one: Outcome, other: Outcome, order: torch.Tensor | None = None) -> None:
    for name in COLUMNS + MEASURED:
        expected = getattr(one, name) if order is None else getattr(one, name)[order]
        if name in COLUMNS:
            assert torch.equal(getattr(other, name), expected), name
        else:
            torch.testing.assert_close(
                getattr(other, name), expected, rtol=1e-9, atol=1e-9, equal_nan=True
            )


@toy()
@dataclass(frozen=True)
class Claims:
    """Proposes one thing, whatever it may be."""

    what: str
    steps = 0

    def start(self, task: Task) -> State:
        far = task.x + 2 * task.ball.epsilon
        proposals = {
            "outside the ball": far.clamp(max=1),
            "outside the box": task.x - 0.5 * task.ball.epsilon,
            "nan": torch.full_like(task.x, torch.nan),
            "one nan": task.x.index_fill(3, torch.tensor([0]), torch.nan),
            "infinite": torch.full_like(task.x, torch.inf),
            "clean": task.x,
        }
        return State(proposals[self.what])

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError("an attack of no steps is never stepped")


def always_wrong() -> tuple[Victim, Block]:
    """A victim that answers 0 on images whose label is 1: every point in ball and box counts."""
    W = torch.zeros(2, 16, dtype=torch.float64)
    victim = linear_victim(W, torch.tensor([1.0, 0.0], dtype=torch.float64))
    x = uniform(5, 1, 4, 4, seed=8)
    x[:, :, 0, 0] = 0
    return victim, Block(x, torch.ones(5, dtype=torch.int64), torch.arange(5))
