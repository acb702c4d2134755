"""Square in l2 and l1: the change is gathered in bumps, and moves from one window to another."""

from __future__ import annotations

import functools

import torch
from auditor_plugins.square.windows import Windows, inside, signs

from auditor.api import Task

#: The aim is below epsilon by so many units of rounding, to stay inside the ball.
_ROUNDING = 8
#: A window's old change counts a little less than its new bump, so that they cannot cancel.
_OLD = 0.999
#: In l1 the change of a window is enlarged so much before it is projected.
_ENLARGED = 3
#: Newton steps for the threshold of that projection, a piecewise linear problem.
_NEWTON = 4


def grid(task: Task, p: int) -> torch.Tensor:
    """(B, C, H, W): bumps of random signs side by side, of norm epsilon in all (section 4.3)."""
    count, channels, height, width = task.x.shape
    side = max(min(height, width) // 5, 1)
    down, right = height // side, width // side
    sign = task.noise("grid").signs(channels + 1, down, right)
    table = bump_table((side,), p, task.x.dtype, task.x.device)[0]
    tiles = table[(sign[:, :1] > 0).long()] * sign[:, 1:, :, :, None, None]
    tiles = tiles.transpose(3, 4).reshape(count, channels, down * side, right * side)
    delta = torch.zeros_like(task.x)
    top, left = (height - down * side) // 2, (width - right * side) // 2
    delta[:, :, top : top + down * side, left : left + right * side] = tiles
    delta *= (_aim(task) / _norm(delta.flatten(1), p))[:, :, None, None]
    return (task.x + delta).clamp_(0, 1)


def transferred(
    task: Task,
    best: torch.Tensor,
    sides: tuple[int, ...],
    stages: torch.Tensor,
    u: torch.Tensor,
    p: int,
) -> torch.Tensor:
    """Algorithm 3: the change of two windows moves to the first, where it takes a new shape.

    The second window becomes clean. The first gets, in each channel, as much change as both held
    and a share of what epsilon leaves unused, in the shape of its old change plus a bump.

    Args:
        task: the images.
        best: (B, C, H, W) points to be changed.
        sides: of the windows in each stage.
        stages: (B,) int64.
        u: (B, 5 + C) uniform numbers.
        p: of the norm.
    """
    side = torch.tensor(sides, device=u.device)[stages]
    first, second = Windows.at(u[:, :2], side, best), Windows.at(u[:, 2:4], side, best)
    counted = inside(side)
    x = best.clone(memory_format=torch.contiguous_format)
    unused = _aim(task) ** p - _norm((x - task.x).flatten(1), p) ** p  # (B, 1)
    old = _taken(first, x, task.x)
    size = _norm(old * counted, p)  # (B, C, 1)
    moved = _norm(_taken(second, x, task.x) * counted, p)  # without what the first held
    wanted = (unused[:, None] / x.shape[1] + size**p + moved**p).clamp_(min=0) ** (1 / p)
    largest = int(side.max())
    table = bump_table(sides, p, u.dtype, u.device)[:, :, :largest, :largest]
    change = table[stages, (u[:, 4] < 0.5).long()].flatten(1)[:, None] * signs(u[:, 5:])
    change += _OLD * old / size.clamp(min=torch.finfo(size.dtype).tiny)
    change *= wanted / _norm(change * counted, p)
    clean = first.read(task.x)
    if p == 1:
        change = sharpened(change, clean, counted, wanted.sum(1, keepdim=True))
    first.write(x, (clean + change).clamp_(0, 1))
    return x


def _taken(window: Windows, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """(B, C, S * S) the change that a window of `x` holds; the window becomes clean."""
    pixels = window.read(clean)
    change: torch.Tensor = window.read(x) - pixels
    window.write(x, pixels)
    return change


def sharpened(
    change: torch.Tensor, clean: torch.Tensor, counted: torch.Tensor, allowed: torch.Tensor
) -> torch.Tensor:
    """`change` enlarged, cut off at the box, and projected on the l1 ball of radius `allowed`.

    Projection takes the same length from each pixel, so that the largest remain: changes that are
    enlarged first come out sparser, and lose less to the box. AutoAttack enlarges them by the
    number of channels and projects the whole image; here the rest of the image is left alone.

    Args:
        change: (B, C, S * S), of l1 norm `allowed` or less.
        clean: (B, C, S * S) the pixels it is for.
        counted: (B, 1, S * S) bool: those that count.
        allowed: (B, 1, 1).
    """
    change = (clean + _ENLARGED * change).clamp_(0, 1) - clean
    length, threshold = change.abs(), torch.zeros_like(allowed)
    for _ in range(_NEWTON):
        left = (length - threshold).clamp_(min=0) * counted
        excess = (left.sum((1, 2), keepdim=True) - allowed).clamp_(min=0)
        threshold += excess / left.count_nonzero((1, 2)).clamp_(min=1)[:, None, None]
    length = (length - threshold).clamp_(min=0)
    total = (length * counted).sum((1, 2), keepdim=True)
    # Newton's steps come from below, and may have ended early.
    length *= (allowed / total.clamp_(min=torch.finfo(total.dtype).tiny)).clamp_(max=1)
    return torch.copysign(length, change)


@functools.cache
def bump_table(
    sides: tuple[int, ...], p: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """(stages, 2, S, S): each side's bump and its transpose, repeating pixels as `Windows` do."""
    along = [torch.arange(max(sides)).clamp(max=side - 1) for side in sides]
    upright = [bump(side, p)[i[:, None], i] for side, i in zip(sides, along, strict=True)]
    return torch.stack([torch.stack([one, one.T]) for one in upright]).to(device, dtype)


def bump(side: int, p: int) -> torch.Tensor:
    """(side, side) float64 of norm 1: a pyramid on its upper half, minus one on its lower half.

    At the distance d from its middle in the l-infinity norm, a pyramid is as high as the sum of
    (k + 1)^-2 over k >= d: the eta of section 4.3. In l1 the power is -4, as in AutoAttack's code.
    """
    upper = side // 2
    both = torch.cat([_pyramid(upper, side, p), -_pyramid(side - upper, side, p)])
    return both / _norm(both.flatten(), p)


def _pyramid(rows: int, columns: int, p: int) -> torch.Tensor:
    down, right = ((torch.arange(n) - n // 2).abs() for n in (rows, columns))
    terms = torch.arange(1, columns // 2 + 2, dtype=torch.float64) ** (-2 if p == 2 else -4)
    pyramid = terms.flip(0).cumsum(0).flip(0)[torch.maximum(down[:, None], right)]
    return pyramid / _norm(pyramid.flatten(), p)


def _norm(change: torch.Tensor, p: int) -> torch.Tensor:
    """Norms along the last axis, which stays."""
    norm: torch.Tensor = torch.linalg.vector_norm(change, p, dim=-1, keepdim=True)
    return norm


def _aim(task: Task) -> float:
    """A radius below epsilon by as much as rounding may add."""
    return task.ball.epsilon * (1 - _ROUNDING * torch.finfo(task.x.dtype).eps)
