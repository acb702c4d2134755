"""A small network trained to answer as a model does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from auditor.api import Probe, Surrogate

from .costs import ANSWERS

#: A batch of training.
_BATCH = 64
#: Noisy copies of an image, at most.
_COPIES = 30
_CHANNELS = 24
_RATE = 3e-3


class Copy(nn.Module):
    """Two convolutions and a linear layer, of initial weights that are the same every time."""

    def __init__(self, channels: int, side: int, classes: int) -> None:
        super().__init__()
        grid = max(1, min(4, side // 4))
        self.layers = nn.Sequential(
            nn.Conv2d(channels, _CHANNELS, 3, stride=1 + (side > 8), padding=1),
            nn.ReLU(),
            nn.Conv2d(_CHANNELS, 2 * _CHANNELS, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            nn.Linear(2 * _CHANNELS * grid**2, classes),
        )
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                inputs = max(1, parameter[0].numel())
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(drawn * (2 / inputs) ** 0.5 if parameter.dim() > 1 else 0 * drawn)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) logits of pixels, normalised or not."""
        scores: torch.Tensor = self.layers(x)
        return scores


class _Probabilities(nn.Module):
    """The softmax of a network's logits, for models of which the audit expects that."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) probabilities."""
        z: torch.Tensor = self.inner(x)
        return z.softmax(1)


def distilled(probe: Probe, epochs: int) -> Surrogate:
    """A surrogate trained on the victim's answers to the images and to noisy copies of them."""
    x, target = _answers(probe)
    base = probe.surrogate.model
    with torch.random.fork_rng([]):  # layers draw weights when they are made
        copy = Copy(x.shape[1], min(x.shape[2:]), target.shape[1]).to(x.device, x.dtype)
    seen = x if base.normalize is None else base.normalize(x)
    with torch.enable_grad():
        _train(copy, seen, target, epochs)
    module = _Probabilities(copy) if base.outputs == "probabilities" else copy
    return replace(probe.surrogate, name="distilled copy", model=base.with_module(module))


def _answers(probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
    """(m, C, H, W) points, and (m, K) the model's softmax there."""
    rows = torch.arange(min(len(probe.y), ANSWERS), device=probe.y.device)
    noise, norm = probe.noise("distilled", rows), probe.ball.norm
    points = [probe.x[rows]]
    for copy in range(min(_COPIES, max(1, ANSWERS // len(rows) - 1))):
        size = probe.ball.epsilon * (1 + copy % 3)
        points.append(norm.sample(probe.x[rows], size, noise.named(str(copy))))
    x = torch.cat(points)[:ANSWERS]
    with torch.no_grad():
        z = torch.cat([probe.victim.logits(part) for part in torch.split(x, _BATCH)])
    # Of logits that are far apart little more than the decision would be left.
    spread = (z.amax(1) - z.amin(1)).median().clamp(min=torch.finfo(z.dtype).tiny)
    return x, (z * (5 / spread)).nan_to_num().softmax(1)


def _train(copy: nn.Module, x: torch.Tensor, target: torch.Tensor, epochs: int) -> None:
    """Adam on the cross-entropy, in an order that is the same every time."""
    optimiser = torch.optim.Adam(copy.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for part in torch.split(order, _BATCH):
            loss = nn.functional.cross_entropy(copy(x[part]), target[part])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
