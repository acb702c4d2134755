"""What the development networks are trained to do: one loss per regime.

A loss is called with the model, a batch x (B, C, H, W) in [0, 1], labels y (B,) and how far the
training is, in [0, 1], and returns a mean over the batch. It may change the model's mode: attacks
are made in evaluation mode. Adversarial bounds grow over the first half of the training, for from
the start a large one can keep a network at a constant prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRADES_WEIGHT = 6.0  # of the divergence, as in the paper


class Loss(Protocol):
    """What `train.fit` minimises."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        """The mean loss of a batch."""


def grown(epsilon: float, progress: float) -> float:
    """A bound that is reached after half of the training."""
    return epsilon * min(1.0, 2 * progress)


def ascend(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, epsilon: float, steps: int
) -> Tensor:
    """Projected ascent of `loss` by the gradient's sign from `start`, in ball and box."""
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    points = torch.clamp(start, low, high)
    for _ in range(steps):
        points.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(points), points)
        points = torch.clamp(points.detach() + 2.5 * epsilon / steps * gradient.sign(), low, high)
    return points


def pgd(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int) -> Tensor:
    """l-infinity PGD on the cross-entropy from a random start (Madry et al. 2018)."""
    start = x + epsilon * (2 * torch.rand_like(x) - 1)
    return ascend(lambda z: F.cross_entropy(model(z), y, reduction="sum"), x, start, epsilon, steps)


def divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """KL(clean || softmax(logits)) per image; `clean` are logarithms of probabilities."""
    return F.kl_div(F.log_softmax(logits, 1), clean, reduction="none", log_target=True).sum(1)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy, with label smoothing (arXiv:1512.00567, section 7)."""

    smoothing: float = 0.0

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        return F.cross_entropy(model(x), y, label_smoothing=self.smoothing)


@dataclass(frozen=True)
class Mixup:
    """Images and labels in the proportion drawn from Beta(1, 1) (arXiv:1710.09412)."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        part, other = float(torch.rand(())), torch.randperm(len(x))
        logits = model(part * x + (1 - part) * x[other])
        return part * F.cross_entropy(logits, y) + (1 - part) * F.cross_entropy(logits, y[other])


@dataclass(frozen=True)
class CutMix:
    """A rectangle of another image, labels in proportion of the areas (arXiv:1905.04899)."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        side = float(torch.rand(())) ** 0.5
        height, width = (round(side * length) for length in x.shape[2:])
        top = int(torch.randint(x.shape[2] - height + 1, ()))
        left = int(torch.randint(x.shape[3] - width + 1, ()))
        other, mixed = torch.randperm(len(x)), x.clone()
        window = (..., slice(top, top + height), slice(left, left + width))
        mixed[window] = x[other][window]
        part = 1 - height * width / (x.shape[2] * x.shape[3])
        logits = model(mixed)
        return part * F.cross_entropy(logits, y) + (1 - part) * F.cross_entropy(logits, y[other])


@dataclass(frozen=True)
class Squeezing:
    """Logits kept small, on noisy images (arXiv:1803.06373, section 2.4)."""

    weight: float
    noise: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        logits = model((x + self.noise * torch.randn_like(x)).clamp(0, 1))
        return F.cross_entropy(logits, y) + self.weight * logits.norm(dim=1).mean()


@dataclass(frozen=True)
class CleanPairing:
    """Logits of any two noisy images pulled together (arXiv:1803.06373, section 2.3)."""

    weight: float
    noise: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        logits = model((x + self.noise * torch.randn_like(x)).clamp(0, 1))
        apart = (logits - logits.roll(1, 0)).norm(dim=1).mean()
        return F.cross_entropy(logits, y) + self.weight * apart


@dataclass(frozen=True)
class AdversarialPairing:
    """PGD, with the logits of an image and its attack pulled together (arXiv:1803.06373, eq. 3)."""

    weight: float
    epsilon: float
    steps: int

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        attacked = pgd(model.eval(), x, y, grown(self.epsilon, progress), self.steps)
        clean, logits = model.train()(x), model(attacked)
        cross = (F.cross_entropy(clean, y) + F.cross_entropy(logits, y)) / 2
        return cross + self.weight * (clean - logits).pow(2).mean()


@dataclass(frozen=True)
class ConfidencePenalty:
    """Cross-entropy less a part of the answer's entropy (arXiv:1701.06548)."""

    weight: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        logits = model(x)
        log = F.log_softmax(logits, 1)
        return F.cross_entropy(logits, y) + self.weight * (log.exp() * log).sum(1).mean()


@dataclass(frozen=True)
class Adversarial:
    """Cross-entropy at the points of PGD (arXiv:1706.06083)."""

    epsilon: float
    steps: int

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        epsilon = grown(self.epsilon, progress)
        attacked = pgd(model.eval(), x, y, epsilon, self.steps) if epsilon else x
        return F.cross_entropy(model.train()(attacked), y)


@dataclass(frozen=True)
class OneStep:
    """Cross-entropy at one step of the whole bound from the image itself (arXiv:1412.6572)."""

    epsilon: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        epsilon, points = grown(self.epsilon, progress), x.clone().requires_grad_(True)
        loss = F.cross_entropy(model.eval()(points), y)
        (gradient,) = torch.autograd.grad(loss, points)
        return F.cross_entropy(model.train()((x + epsilon * gradient.sign()).clamp(0, 1)), y)


class Free:
    """One perturbation, updated by the same backward pass as the weights (arXiv:1904.12843).

    It is meant for plans with `replays` above 1: the same batch several times in a row.
    """

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self._delta = torch.zeros(())

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        epsilon = grown(self.epsilon, progress)
        delta = self._delta.expand_as(x).clamp(-epsilon, epsilon).requires_grad_(True)

        def follow(gradient: Tensor) -> None:
            self._delta = (delta.detach() + epsilon * gradient.sign()).clamp(-epsilon, epsilon)

        delta.register_hook(follow)
        return F.cross_entropy(model((x + delta).clamp(0, 1)), y)


@dataclass(frozen=True)
class Trades:
    """TRADES (Zhang et al. 2019, arXiv:1901.08573, equation 3)."""

    epsilon: float
    steps: int

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        epsilon = grown(self.epsilon, progress)
        if not epsilon:
            return F.cross_entropy(model(x), y)
        model.eval()
        with torch.no_grad():
            clean = F.log_softmax(model(x), 1)
        start = x + 0.001 * torch.randn_like(x)
        attacked = ascend(
            lambda z: divergence(clean, model(z)).sum(), x, start, epsilon, self.steps
        )
        logits = model.train()(x)
        apart = divergence(F.log_softmax(logits, 1), model(attacked)).mean()
        return F.cross_entropy(logits, y) + TRADES_WEIGHT * apart


@dataclass(frozen=True)
class GradientPenalty:
    """Cross-entropy and the square of its gradient by the image (arXiv:1711.09404, eq. 4)."""

    weight: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        points = x.clone().requires_grad_(True)
        loss = F.cross_entropy(model(points), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, points, create_graph=True)
        return (loss + self.weight * gradient.pow(2).sum()) / len(x)


@dataclass(frozen=True)
class JacobianPenalty:
    """Cross-entropy and the square of the logits' Jacobian, by one random projection an image.

    arXiv:1908.02729, equation 8.
    """

    weight: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        points = x.clone().requires_grad_(True)
        logits = model(points)
        along = F.normalize(torch.randn_like(logits), dim=1)
        (slope,) = torch.autograd.grad((along * logits).sum(), points, create_graph=True)
        square = logits.shape[1] * slope.pow(2).sum() / len(x)
        return F.cross_entropy(logits, y) + self.weight / 2 * square
