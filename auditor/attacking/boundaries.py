"""How far away the boundaries to wrong classes are, judged by slopes at the clean image."""

from __future__ import annotations

import torch

from auditor.attacking.setup import Stop, go_on, proceed
from auditor.maths.norms import Ball
from auditor.subject.memory import Pieces
from auditor.surrogate import NoGradientError, Surrogate
from auditor.surrogate.surrogate import persisting


def linear_distances(
    surrogate: Surrogate,
    ball: Ball,
    y: torch.Tensor,
    targets: torch.Tensor,
    batch_size: int,
    stop: Stop = go_on,
) -> torch.Tensor:
    """(B, T) float64: z_y - z_t, over how much a linear z_t - z_y could rise within ball and box.

    Where the box leaves room this is s_t = (z_y - z_t) / |grad(z_t - z_y)|_q of MALT, q the dual of
    the ball's norm, in units of epsilon; here a pixel goes no further than its wall. Infinite where
    the slope is zero or not finite. Costs each image a forward pass, and a backward pass for each
    target.

    Args:
        surrogate: whose logits are taken to be linear.
        ball: around the B clean images.
        y: (B,) labels.
        targets: (B, T) wrong classes.
        batch_size: at most so many images are worked on at once.
        stop: looked at before each batch.

    Raises:
        NoGradientError: autograd does not reach the input.
        OutOfTimeError: `stop` says so.

    Source: Melamed et al. 2024, arXiv:2407.02240.
    """

    def work(rows: slice) -> torch.Tensor:
        proceed(stop)
        part = Ball(ball.norm, ball.epsilon, ball.x0[rows])
        return _distances(surrogate, part, y[rows], targets[rows])

    room = surrogate.model.pieces.limit or batch_size
    return torch.cat(Pieces(min(batch_size, room)).run(work, len(y)))


def _distances(
    surrogate: Surrogate, ball: Ball, y: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """The same, all at once."""
    return persisting(surrogate.model, lambda: _differentiated(surrogate, ball, y, targets))


def _differentiated(
    surrogate: Surrogate, ball: Ball, y: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    with torch.enable_grad():
        point = ball.x0.detach().requires_grad_()
        z = surrogate.scores(point)
        if not z.requires_grad:
            raise NoGradientError(surrogate.model.name)
        gaps = (z.gather(1, y[:, None]) - z.gather(1, targets)).unbind(1)
    found = []
    for gap in gaps:
        rest = gap is not gaps[-1]
        slope = surrogate.model.differentiation.derivative(-gap.sum(), point, keep=rest)
        if slope is None:
            raise NoGradientError(surrogate.model.name)
        found.append(gap.detach().double() / _rise(ball, slope))
    return torch.stack(found, 1).nan_to_num(torch.inf, torch.inf, torch.inf)


def _rise(ball: Ball, slope: torch.Tensor) -> torch.Tensor:
    """(B,) float64, how much a linear function of this slope can rise; 0 where it is not finite."""
    finite = slope.isfinite().flatten(1).all(1)[:, None, None, None]
    slope = torch.where(finite, slope, 0)
    best = ball.steepest(ball.x0, slope, ball.epsilon)
    return (slope.double() * (best.double() - ball.x0.double())).sum((1, 2, 3))
