"""What networks of the zoo's third part are trained with in the place of an activation."""

from __future__ import annotations

import torch
from torch import Tensor

#: Frames that spiking networks see of an image.
FRAMES = 6


def with_value(slope: Tensor, value: Tensor) -> Tensor:
    """`value` with the gradient of `slope`: the straight-through estimator."""
    return slope + (value - slope).detach()


def logistic(like: Tensor) -> Tensor:
    """Logistic noise, the difference of two Gumbel variables."""
    u = torch.rand_like(like).clamp(1e-6, 1 - 1e-6)
    return torch.log(u) - torch.log1p(-u)


def gate(a: Tensor, temperature: float) -> Tensor:
    """A relaxed Bernoulli variable (Maddison et al. 2017, arXiv:1611.00712, equation 6)."""
    return torch.sigmoid((a + logistic(a)) / temperature)


def compete_softly(a: Tensor, temperature: float, *, noisy: bool) -> Tensor:
    """Each of two units (dimension 2) times its relaxed chance to win (arXiv:2112.02671)."""
    lead = a[:, :, 0] - a[:, :, 1]
    if noisy:
        lead = lead + logistic(lead)
    first = torch.sigmoid(lead / temperature)
    return a * torch.stack([first, 1 - first], 2)


def winners(a: Tensor, share: float) -> Tensor:
    """The largest `share` of an image's activations, zero elsewhere (arXiv:1905.10510)."""
    flat = a.flatten(1)
    least = flat.topk(max(1, int(share * flat.shape[1])), 1).values[:, -1:]
    return torch.where(flat >= least, flat, 0 * flat).view_as(a)


def fire(level: Tensor) -> Tensor:
    """Spikes where the level is positive, with a sigmoid's slope (arXiv:1901.09948)."""
    return with_value(torch.sigmoid(4 * level), (level > 0).to(level.dtype))


def code(a: Tensor) -> Tensor:
    """Bits of a code, with a sigmoid's slope."""
    return with_value(torch.sigmoid(a), (a > 0).to(a.dtype))


def grey_frames(x: Tensor) -> list[Tensor]:
    """The image itself in the place of every frame of spikes: their expectation."""
    return [x] * FRAMES
