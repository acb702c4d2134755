"""Tiny classifiers of known behaviour, and images for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from auditor.maths.norms import Norm
from auditor.maths.randomness import Noise

#: How far every pixel may move in the balls of the kit.
_PER_PIXEL = 0.03


def numbers(*shape: int, purpose: str) -> Noise:
    """Random numbers of the kit: a row each, the same in every run."""
    image = torch.arange(shape[0])
    zero = torch.zeros_like(image)
    return Noise(0, ("conformance", purpose), image, zero, zero, torch.float64)


def radius(norm: Norm, shape: tuple[int, int, int]) -> float:
    """The length of a change of every pixel by 0.03."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    return norm.distance(zero + _PER_PIXEL, zero).item()


def pictures(images: int, shape: tuple[int, int, int], purpose: str = "images") -> torch.Tensor:
    """(n, C, H, W) float64 noise on [0, 1], with pixels on both faces of the box."""
    u = numbers(images, purpose=purpose).uniform(*shape)
    return (1.2 * u - 0.1).clamp(0, 1)


class Smooth(nn.Module):
    """An honest network of one hidden layer that tells the images `x` apart.

    Its logits have mean 0 and standard deviation 1 over `x`, class by class.
    """

    def __init__(self, x: torch.Tensor, classes: int) -> None:
        super().__init__()
        width, pixels = 24, x[0].numel()
        self.first = nn.Linear(pixels, width)
        self.last = nn.Linear(width, classes)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                drawn = numbers(parameter.shape[0], purpose=name).normal(*parameter.shape[1:])
                parameter.copy_(drawn / math.sqrt(max(1, parameter[0].numel())))
            z = self(x.float())
            self.last.bias.sub_(z.mean(0)).div_(z.std(0).clamp(min=1e-3))
            self.last.weight.div_(z.std(0).clamp(min=1e-3)[:, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) logits."""
        scores: torch.Tensor = self.last(torch.tanh(self.first(2 * x.flatten(1) - 1)))
        return scores


class Linear(nn.Module):
    """logits = W x + b."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) logits."""
        return x.flatten(1) @ self.W.T + self.b


class Counted(nn.Module):
    """Counts, on its own, the images that go through a model."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards = inner, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the model says."""
        self.forwards += len(x)
        scores: torch.Tensor = self.inner(x)
        return scores


class Broken(nn.Module):
    """The scores, or the gradient, of a model turned into something that is not finite.

    Args:
        kind: "NaN logits", "infinite logits", "NaN gradient" or "infinite gradient".
    """

    def __init__(self, inner: nn.Module, kind: str) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) logits."""
        bad = torch.nan if self.kind.startswith("NaN") else torch.inf
        z: torch.Tensor = self.inner(x)
        if self.kind.endswith("logits"):
            return z * 0 + bad
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * bad)  # type: ignore[no-untyped-call]
        return z


BROKEN_KINDS = ("NaN logits", "infinite logits", "NaN gradient", "infinite gradient")


@dataclass(frozen=True)
class StrengthCurve:
    """A linear model, and images each of which is a known way from being misclassified.

    Image j falls exactly if an attack reaches the part `rung[j]` of what is possible in its ball;
    the last one cannot fall. The labels are all 0, and class 1 is the only rival within reach.
    """

    model: Linear
    #: (n, C, H, W) float64, and (n,) what each takes.
    x: torch.Tensor
    rung: torch.Tensor
    #: (N,) float64, the direction that favours class 1, and (n,) what is possible along it.
    direction: torch.Tensor
    gain: torch.Tensor

    SHAPE = (1, 12, 11)

    @classmethod
    def for_norm(cls, norm: Norm, epsilon: float) -> StrengthCurve:
        """Rungs at 0.05, 0.1, ..., 0.95 and 1.1 of the best gain max <w, x' - x> of the ball."""
        rung = torch.cat([torch.arange(1, 20) / 20, torch.tensor([1.1])]).double()
        pixels = math.prod(cls.SHAPE)
        w = numbers(1, purpose="direction").normal(pixels)[0]
        x = 0.4 + 0.2 * numbers(len(rung), purpose="rungs").uniform(*cls.SHAPE)
        slope = w.view(1, *cls.SHAPE).expand_as(x)

        def gain() -> torch.Tensor:
            return (slope * (norm.steepest(x, slope, epsilon) - x)).flatten(1).sum(1)

        for _ in range(3):  # the gain depends a little on the image, where the box is near
            lead = -(slope * (x - 0.5)).flatten(1).sum(1)
            change = (lead - rung * gain()) / w.abs().sum()
            x = x + slope.sign() * change.view(-1, 1, 1, 1)
        lead = -(slope * (x - 0.5)).flatten(1).sum(1)
        weight = torch.stack([torch.zeros_like(w), w, 0.01 * w.flip(0)])
        bias = torch.stack([w.new_tensor(0.0), -0.5 * w.sum(), w.new_tensor(-20.0)])
        return cls(Linear(weight, bias), x, lead / gain(), w, gain())
