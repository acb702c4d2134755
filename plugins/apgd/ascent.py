"""What APGD remembers in every norm: the best point, and where to go on from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import Observation, State


@dataclass
class Ascent(State):
    """`x` (B, C, H, W) is x^(k), the point to evaluate next; the names are those of the paper."""

    #: (B, C, H, W) x_max, the best point so far, and the gradient there.
    best: torch.Tensor
    best_gradient: torch.Tensor
    #: (B,) f_max, its objective; -inf before the first.
    best_loss: torch.Tensor
    #: (B,) eta, the length of a step.
    length: torch.Tensor


def remember(state: Ascent, seen: Observation) -> None:
    """Bring x_max, its gradient and f_max up to date."""
    assert seen.gradient is not None
    better = seen.loss > state.best_loss
    rows = better.nonzero()[:, 0]
    state.best = replaced(state.best, rows, state.x)
    state.best_gradient = replaced(state.best_gradient, rows, seen.gradient)
    state.best_loss = torch.where(better, seen.loss, state.best_loss)


def going_on(
    state: Ascent, seen: Observation, again: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Point and gradient to go on from: those seen, or in the rows `again` those of x_max."""
    assert seen.gradient is not None
    if again is None:
        return state.x, seen.gradient
    x = replaced(state.x, again, state.best)
    return x, replaced(seen.gradient, again, state.best_gradient)


def replaced(old: torch.Tensor, rows: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """`old`, but these rows of `new`; a small part of the time of `torch.where`."""
    return old.index_copy(0, rows, new.index_select(0, rows)) if len(rows) else old
