"""Decision-based attacks of foolbox (Rauber et al. 2020, doi:10.21105/joss.02607)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from auditor.api import (
    SCORES,
    NonNegativeInt,
    PositiveInt,
    Surrogate,
    Task,
    attack,
    import_extra,
    param,
)

from .bridge import as_module

#: How often noise is tried as a point to start from.
_TRIES = 50


@dataclass(frozen=True)
class _Decisions:
    """What decision-based attacks have in common: a start on the other side, and its refinement."""

    minimises: ClassVar[bool] = True

    def perturb(self, surrogate: Surrogate, task: Task) -> torch.Tensor:
        """The nearest adversarial images found; clean ones where there was nowhere to start."""
        foolbox, module = import_extra("foolbox", "foolbox", "[[attack]]"), as_module(surrogate)
        model = foolbox.PyTorchModel(module, bounds=(0, 1), device=task.x.device)
        x = task.x.float()
        with torch.no_grad():
            start, found = _starts(module, x, task)
        out = x.clone()
        if found.any():
            criterion = foolbox.criteria.Misclassification(task.y[found])
            out[found] = self._made(foolbox, task.ball.norm.name).run(
                model, x[found], criterion, starting_points=start[found]
            )
        return out.to(task.x.dtype)

    def _made(self, foolbox: Any, norm: str) -> Any:
        raise NotImplementedError


def _starts(
    module: torch.nn.Module, x: torch.Tensor, task: Task
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adversarial points (B, C, H, W), wherever they lie, and (B,) whether there is one.

    Images of the batch that the model takes for another class, else uniform noise.
    """
    answers = module(x).argmax(1)
    start, found = x.clone(), torch.zeros_like(task.y, dtype=torch.bool)
    for row in range(len(x)):
        others = (answers != task.y[row]).nonzero().flatten()
        if len(others):
            distance = (x[others] - x[row]).flatten(1).norm(dim=1)
            start[row], found[row] = x[others[distance.argmin()]], True
    noise = task.noise("start")
    for turn in range(_TRIES):
        if found.all():
            break
        drawn = noise.named(str(turn)).uniform(*x.shape[1:]).to(x.dtype)
        new = ~found & (module(drawn).argmax(1) != task.y)
        start[new], found = drawn[new], found | new
    return start, found


@attack(
    name="foolbox-hopskipjump",
    norms={"linf", "l2"},
    needs=SCORES,
    reference="Chen, Jordan & Wainwright 2020, arXiv:1904.02144, algorithm 2",
)
@dataclass(frozen=True)
class HopSkipJump(_Decisions):
    """HopSkipJump of foolbox: the boundary's normal estimated from decisions alone.

    It looks for the nearest adversarial image, in the ball or not.
    """

    steps: PositiveInt = param(20, "iterations")
    first_queries: PositiveInt = param(100, "queries of the first estimate of the gradient")
    most_queries: PositiveInt = param(1000, "at most, of later estimates")

    def passes(self, classes: int) -> tuple[int, int]:
        """Of estimates alone; searches along lines come on top."""
        queries = (min(self.first_queries * (k + 1) ** 0.5, self.most_queries) for k in
                   range(self.steps))  # fmt: skip
        return int(sum(queries)), 0

    def _made(self, foolbox: Any, norm: str) -> Any:
        return foolbox.attacks.HopSkipJumpAttack(
            steps=self.steps,
            initial_gradient_eval_steps=self.first_queries,
            max_gradient_eval_steps=self.most_queries,
            constraint=norm,
        )


@attack(
    name="foolbox-boundary",
    norms={"l2"},
    needs=SCORES,
    reference="Brendel, Rauber & Bethge 2018, arXiv:1712.04248, algorithm 1",
)
@dataclass(frozen=True)
class Boundary(_Decisions):
    """The boundary attack of foolbox: a random walk along the boundary, from decisions alone.

    It looks for the nearest adversarial image, in the ball or not.
    """

    steps: NonNegativeInt = param(5000, "steps of the walk, one query each")

    def passes(self, classes: int) -> tuple[int, int]:
        """A query per step."""
        return self.steps, 0

    def _made(self, foolbox: Any, norm: str) -> Any:
        return foolbox.attacks.BoundaryAttack(steps=self.steps)
