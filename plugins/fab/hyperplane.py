"""The shortest way to a hyperplane inside the box [0, 1], in the l-infinity, l2 and l1 norm.

The box-constrained projection of arXiv:1907.02044: minimise |d|_p subject to <w, z + d> + b = 0 and
0 <= z + d <= 1. Every pixel moves in the direction that leads to the plane, and no further than its
wall, the end of the box in that direction; what remains is how far. In l-infinity and l2 pixel i
moves by min(s p_i, room_i), with pace p_i = 1 and |w_i| respectively, and one number s per point;
in l1 the pixels of largest |w_i| go to their walls one after another.

The paper sorts the pixels by where they meet their walls. Here s is found by Newton's method, which
ends at the exact s after a few sums over the image, and in l1 only the largest pixels are sorted.
"""

from __future__ import annotations

import torch

#: Further than any level or gap that can be reached, with room for its products in float32.
_BEYOND = 1e30
#: In l1, the part of the pixels, and the least number, that are sorted before all are.
_FIRST_PART, _FIRST_COUNT = 8, 64


def shortest_shift(
    norm: str, points: torch.Tensor, w: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """The smallest d, in the norm, that take points of the box onto a plane without leaving it.

    Where the box does not reach the plane, d goes to the point of the box that is furthest towards
    it, by way of the pixels with w != 0; where w is zero everywhere, so is d.

    Args:
        norm: "linf", "l2" or "l1".
        points: (P, B, N) in [0, 1].
        w: (B, N) finite normals of the planes, of any length; those of one image share it.
        value: (P, B) of the linear functions <w, z> + b at the points. They say where the planes
            are more exactly than b does, since a point near its plane has a value near zero.

    Returns:
        (P, B, N): d.
    """
    largest = w.abs().amax(-1, keepdim=True).clamp_(min=torch.finfo(w.dtype).tiny)
    # Only ratios matter: with 1 as the largest of |w|, no product overflows, and none that counts
    # vanishes.
    w = w / largest
    gap = (value.abs().unsqueeze(-1) / largest).clamp_(max=_BEYOND)  # (P, B, 1)
    side = -value.sign().unsqueeze(-1)
    if norm == "l1":
        return _fill(points, w, gap, side)
    size = w.abs()
    pace = size if norm == "l2" else torch.ones_like(largest)
    return _rise(points, size, pace, gap, side * w.sign())


def _room(points: torch.Tensor, heading: torch.Tensor) -> torch.Tensor:
    """How far each pixel may go in direction `heading`, 1 or -1."""
    return (heading.clamp(min=0) - points).abs_()


def _rise(
    points: torch.Tensor,
    size: torch.Tensor,
    pace: torch.Tensor,
    gap: torch.Tensor,
    heading: torch.Tensor,
) -> torch.Tensor:
    """min(s pace, room) along `heading`, with the least s for which the gap is closed.

    What is gained, sum of |w| min(s pace, room), is concave and piecewise linear in s. So Newton's
    method from below never oversteps, and it is at the end when no further pixel meets its wall.
    """
    tiny = torch.finfo(size.dtype).tiny
    room = _room(points, heading)
    slope, most = size * pace, size * room
    meeting = room / pace.clamp(min=tiny)  # the s at which a pixel is at its wall
    s = _quotient(gap, (room.sign() * slope).sum(-1, keepdim=True))  # (P, B, 1)
    flags = torch.empty_like(room)  # 1.0 and 0.0: several times faster than masks
    while True:
        spent = torch.gt(s, meeting, out=flags).mul_(most).sum(-1, keepdim=True)
        rate = torch.le(s, meeting, out=flags).mul_(slope).sum(-1, keepdim=True)
        further = torch.maximum(s, _quotient(gap - spent, rate))  # rounding must not take s back
        if torch.equal(further, s):
            return torch.minimum(s * pace, room).mul_(heading)
        s = further


def _quotient(gap: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
    """gap / rate, finite where no pixel is left to move."""
    return (gap / rate.clamp_(min=torch.finfo(rate.dtype).tiny)).clamp_(max=_BEYOND)


def _fill(
    points: torch.Tensor, w: torch.Tensor, gap: torch.Tensor, side: torch.Tensor
) -> torch.Tensor:
    """To their walls, the pixels of largest |w| first, until the gap is closed.

    An image whose largest pixels do not suffice has all of them sorted. Which these images are does
    not depend on the others.
    """
    pixels = w.shape[-1]
    count = min(pixels, max(_FIRST_COUNT, pixels // _FIRST_PART))
    shift, closed = _fill_largest(points, w, gap, side, count)
    if count < pixels:
        rows = (~closed.all(0)).nonzero().flatten()
        if len(rows):
            part = (points[:, rows], w[rows], gap[:, rows], side[:, rows])
            shift[:, rows] = _fill_largest(*part, pixels)[0]
    return shift


def _fill_largest(
    points: torch.Tensor, w: torch.Tensor, gap: torch.Tensor, side: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_fill` with the `count` largest pixels alone; whether (P, B) they close the gap."""
    size, order = w.abs().topk(count, dim=-1)
    heading = side * w.gather(-1, order).sign()
    order = order.expand(len(points), -1, -1)
    room = _room(points.gather(-1, order), heading)
    gain = size * room
    total = gain.cumsum(-1)
    left = (gap - (total - gain)).clamp_(min=0)
    length = torch.minimum(left / size.clamp_(min=torch.finfo(w.dtype).tiny), room)
    shift = torch.zeros_like(points).scatter_(-1, order, length.mul_(heading))
    return shift, total[..., -1] >= gap[..., 0]
