"""Hard values with useful slopes: what takes the place of operations without a gradient.

Source: Athalye et al. 2018, arXiv:1802.00420, section 4.1 (backward pass differentiable
approximation, BPDA; the straight-through estimator is its simplest form).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd import Function


class _Straight(Function):
    """Values from a box (so that autograd does not know them), gradient to `soft`."""

    @staticmethod
    def forward(ctx: Any, soft: torch.Tensor, box: list[torch.Tensor]) -> torch.Tensor:
        return box[0]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0], None


class _Sloped(Function):
    """Values from a box, gradient to `x` times a given slope."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, box: list[torch.Tensor], slope: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(slope)
        return box[0]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


class _Finite(Function):
    """The identity, whose gradient has no NaN and no infinity."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, report: list[bool]) -> torch.Tensor:
        ctx.report = report
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        bad = ~grads[0].isfinite()
        if ctx.report is not None and bool(bad.any()):
            ctx.report.append(True)
        return grads[0].masked_fill(bad, 0), None


def straight(soft: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """The values of `hard` in the type of `soft`, with the gradient of `soft` (same shape)."""
    value = hard.detach().to(soft.dtype)
    # A tensor of its own: autograd must not take it for a view of somebody else's.
    value = value.clone() if value.data_ptr() == hard.data_ptr() else value
    result: torch.Tensor = _Straight.apply(soft, [value])
    return result


def sloped(x: torch.Tensor, hard: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """The values of `hard`, whose gradient with respect to `x` is `slope` (all of one shape)."""
    result: torch.Tensor = _Sloped.apply(x, [hard.detach().to(x.dtype, copy=True)], slope)
    return result


def finite(x: torch.Tensor, report: list[bool] | None = None) -> torch.Tensor:
    """`x`; entries of its gradient that are not finite become 0, and are reported."""
    result: torch.Tensor = _Finite.apply(x, report)
    return result


def step_slope(u: torch.Tensor) -> torch.Tensor:
    """The slope of a soft step at distance `u` from its threshold; never vanishing.

    1 / (s (1 + |u| / s)^2) with s the mean distance of the row, so that what is nearest to its
    threshold counts most and nothing counts for nothing. A row is everything but the first
    dimension: images must not depend on their neighbours in the batch.
    """
    u = u.detach()
    size = u.abs()
    scale = size
    if u.dim() > 1:
        scale = size.flatten(1).mean(1).view(-1, *[1] * (u.dim() - 1))
    scale = scale.clamp(min=torch.finfo(u.dtype).tiny ** 0.25)
    return 1 / (scale * (1 + size / scale) ** 2)


def mostly(bad: torch.Tensor) -> torch.Tensor:
    """For every row whether most of its entries are true; broadcasts against them."""
    if bad.dim() < 2:
        return bad.to(torch.float32).mean() > 0.5
    share = bad.flatten(1).to(torch.float32).mean(1)
    return (share > 0.5).view(-1, *[1] * (bad.dim() - 1))


def tempered(z: torch.Tensor, dim: int) -> torch.Tensor:
    """softmax(6 z / range) along `dim`: scores of any scale, never saturated.

    The range (largest minus smallest) is a constant: it has no gradient.
    """
    with torch.no_grad():
        reach = z.amax(dim, keepdim=True) - z.amin(dim, keepdim=True)
        factor = 6 / reach.clamp(min=math.sqrt(torch.finfo(z.dtype).tiny))
    return (z * factor).softmax(dim)
