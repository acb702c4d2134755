"""Square in l-infinity: every pixel is at one end of what ball and box allow."""

from __future__ import annotations

import torch
from auditor_plugins.square.windows import Sizes, Windows

from auditor.api import Task


def stripes(task: Task) -> torch.Tensor:
    """(B, C, H, W): vertical stripes of -epsilon or epsilon, a pixel wide (section 4.2)."""
    columns = task.noise("stripes").signs(task.x.shape[1], 1, task.x.shape[3])
    return _shifted(task.x, task.ball.epsilon, columns)


def recoloured(
    clean: torch.Tensor,
    epsilon: float,
    best: torch.Tensor,
    sizes: Sizes,
    begin: torch.Tensor,
    signs: torch.Tensor,
) -> torch.Tensor:
    """Algorithm 2: a square at -epsilon or epsilon from the clean image, channel by channel.

    A square that would change nothing gets the opposite signs; the authors draw until it changes
    something.

    Args:
        clean: (B, C, H, W) clean images.
        epsilon: of the ball.
        best: (B, C, H, W) points to be changed.
        sizes: of the squares.
        begin: (B, 1) where they begin.
        signs: (B, C).
    """
    square = Windows.at(begin[:, 0], sizes, best.shape[3])
    pixels, sign = square.read(clean), signs[:, :, None]
    same = (_shifted(pixels, epsilon, sign) == square.read(best)).flatten(1).all(1)
    sign = torch.where(same[:, None, None], -sign, sign)
    x = best.clone(memory_format=torch.contiguous_format)
    square.write(x, _shifted(pixels, epsilon, sign))
    return x


def _shifted(clean: torch.Tensor, epsilon: float, sign: torch.Tensor) -> torch.Tensor:
    return (clean + epsilon * sign).clamp_(0, 1)
