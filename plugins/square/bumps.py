"""Square in l2 and l1: the change is gathered in bumps, and moves from one window to another."""

from __future__ import annotations

import functools

import torch
from auditor_plugins.square.windows import Sizes, Windows, repeated

from auditor.api import Task

#: The aim is below epsilon by so many units of rounding, to stay inside the ball.
_ROUNDING = 8
#: A window's old change counts a little less than its new bump, so that they cannot cancel.
_OLD = 0.999
#: In l1 the change of a window is enlarged so much before it is projected.
_ENLARGED = 3
#: So many of its pixels, the largest, decide how much the projection takes away.
_DECISIVE = 32


def grid(task: Task, p: int) -> torch.Tensor:
    """(B, C, H, W): bumps of random signs side by side, of norm epsilon in all (section 4.3)."""
    count, channels, height, width = task.x.shape
    side = max(min(height, width) // 5, 1)
    down, right = height // side, width // side
    signs = task.noise("grid").signs(channels + 1, down, right)
    table = bump_table((side,), p, task.x.dtype, task.x.device)[:, 0]
    tiles = table[(signs[:, :1] > 0).long()] * signs[:, 1:, :, :, None, None]
    tiles = tiles.transpose(3, 4).reshape(count, channels, down * side, right * side)
    delta = torch.zeros_like(task.x)
    top, left = (height - down * side) // 2, (width - right * side) // 2
    delta[:, :, top : top + down * side, left : left + right * side] = tiles
    delta *= (_aim(task.ball.epsilon, delta.dtype) / _norm(delta.flatten(1), p))[:, :, None, None]
    return (task.x + delta).clamp_(0, 1)


def transferred(
    clean: torch.Tensor,
    epsilon: float,
    best: torch.Tensor,
    sizes: Sizes,
    begin: torch.Tensor,
    signs: torch.Tensor,
    p: int,
) -> torch.Tensor:
    """Algorithm 3: the change of two windows moves to the first, where it takes a new shape.

    The second window becomes clean. The first gets, in each channel, as much change as both held
    and a share of what epsilon leaves unused, in the shape of its old change plus a bump.

    Args:
        clean: (B, C, H, W) clean images.
        epsilon: of the ball.
        best: (B, C, H, W) points to be changed.
        sizes: of the windows.
        begin: (B, 2) where they begin.
        signs: (B, C + 1), of the bumps; the last says whether they lie or stand.
        p: of the norm.
    """
    first, second = (Windows.at(corner, sizes, best.shape[3]) for corner in begin.unbind(1))
    x = best.clone(memory_format=torch.contiguous_format)
    once = sizes.once(x.dtype)
    unused = _aim(epsilon, x.dtype) ** p - _norm((x - clean).flatten(1), p) ** p  # (B, 1)
    old = _taken(first, x, clean)
    size = _norm(old * once, p)  # (B, C, 1)
    moved = _norm(_taken(second, x, clean) * once, p)  # without what the first held
    wanted = (unused[:, None] / x.shape[1] + size**p + moved**p).clamp_(min=0) ** (1 / p)
    lying, standing = (sizes.pick(one) for one in bump_table(sizes.sides, p, x.dtype, x.device))
    change = torch.where(signs[:, None, -1:] < 0, lying, standing) * signs[:, :-1, None]
    change += _OLD * old / size.clamp_(min=torch.finfo(size.dtype).tiny)
    change *= wanted / _norm(change * once, p)
    pixels = first.read(clean)
    if p == 1:
        change = sharpened(change, pixels, once, wanted.sum(1))
    first.write(x, (pixels + change).clamp_(0, 1))
    return x


def _taken(window: Windows, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """(B, C, L * L) the change that a window of `x` holds; the window becomes clean."""
    pixels = window.read(clean)
    change: torch.Tensor = window.read(x) - pixels
    window.write(x, pixels)
    return change


def sharpened(
    change: torch.Tensor, clean: torch.Tensor, once: torch.Tensor, allowed: torch.Tensor
) -> torch.Tensor:
    """`change` enlarged, cut off at the box, and projected on the l1 ball of radius `allowed`.

    The projection takes the same length from each pixel, so that the largest remain: a change that
    was enlarged comes out sparser, and loses less to the box. AutoAttack enlarges by the number of
    channels and projects the whole image; here what is outside the window stays as it is.

    Args:
        change: (B, C, L * L), of l1 norm `allowed` or less.
        clean: (B, C, L * L) the pixels it is for.
        once: (B, 1, L * L): 1 at those that count, else 0.
        allowed: (B, 1).
    """
    change = (clean + _ENLARGED * change).clamp_(0, 1) - clean
    length = change.abs()
    counted = (length * once).flatten(1)
    largest = counted.topk(min(_DECISIVE, counted.shape[1])).values
    # The k largest, each shorter by t, are as long as allowed together for t = (sum - allowed) / k;
    # the largest such t is that of the projection.
    count = torch.arange(1, largest.shape[1] + 1, device=largest.device)
    taken = ((largest.cumsum(1) - allowed) / count).amax(1, keepdim=True).clamp_(min=0)
    length = (length - taken[:, None]).clamp_(min=0)
    # More pixels than were looked at may be left; then they are still too long.
    total = (counted - taken).clamp_(min=0).sum(1, keepdim=True)
    fits = (allowed / total.clamp_(min=torch.finfo(total.dtype).tiny)).clamp_(max=1)
    return torch.copysign(length * fits[:, None], change)


@functools.cache
def bump_table(
    sides: tuple[int, ...], p: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """(2, T, S, S): the bump of each side, lying and standing, enlarged as `Sizes` says."""
    lying = torch.stack([repeated(bump(side, p), max(sides)) for side in sides])
    return torch.stack([lying, lying.mT]).to(device, dtype)


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
    if p == 1:  # four times as fast as vector_norm
        return change.abs().sum(-1, keepdim=True)
    norm: torch.Tensor = torch.linalg.vector_norm(change, p, dim=-1, keepdim=True)
    return norm


def _aim(epsilon: float, dtype: torch.dtype) -> float:
    """A radius below epsilon by as much as rounding may add."""
    return epsilon * (1 - _ROUNDING * torch.finfo(dtype).eps)
