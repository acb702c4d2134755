"""Small victims, and one way to run an attack on them: the one that production uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.setup import Setup
from auditor.attacking.stages import Log, attack_block
from auditor.attacking.verify import Verifier
from auditor.maths.norms import NORMS
from auditor.protocols.attack import AttackSpec, spec_of
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, naive

NORM = {norm.name: norm for norm in NORMS}


class Linear(nn.Module):
    """logits = W x + b."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.W.T + self.b


class SmallCNN(nn.Module):
    """A smooth convolutional net with fixed random weights that tells the images `x` apart.

    Its logits have mean 0 and standard deviation 1 over `x`, class by class, so that no class wins
    everywhere and some images lie near a boundary.
    """

    def __init__(self, x: torch.Tensor, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(x.shape[1], 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, stride=2)
        height, width = ((size - 1) // 2 for size in x.shape[2:])
        self.last = nn.Linear(6 * height * width, classes)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = max(1, parameter[0].numel())
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
            z = self(x.float())
            self.last.bias.sub_(z.mean(0))
            spread = z.std(0)
            self.last.bias.div_(spread)
            self.last.weight.div_(spread[:, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(2 * x - 1))
        h = torch.nn.functional.silu(self.second(h))
        return self.last(h.flatten(1))


class Counted(nn.Module):
    """Counts, on its own, the images that go forwards and the gradients that come back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.forwards = self.backwards = 0

    def _back(self, grad: torch.Tensor) -> None:
        self.backwards += len(grad)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += len(x)
        if x.requires_grad:
            x = x * 1
            x.register_hook(self._back)
        return self.inner(x)


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def linear_victim(weight: torch.Tensor, bias: torch.Tensor, **options: Any) -> Victim:
    options.setdefault("precision", torch.float64)
    return Victim("linear", Linear(weight, bias.to(weight.dtype)), **options)


def cnn_victim(x: torch.Tensor, **options: Any) -> Victim:
    options.setdefault("precision", torch.float64)
    return Victim("cnn", SmallCNN(x), **options)


@torch.no_grad()
def block_of(victim: Victim, x: torch.Tensor, image: torch.Tensor | None = None) -> Block:
    """A block on which the victim is right everywhere: its own answers are the labels."""
    y = victim.logits(x).argmax(1)
    return Block(x, y, torch.arange(len(x)) if image is None else image)


@dataclass
class Run:
    outcome: Outcome
    verifier: Verifier
    log: Log


def run_attack(
    victim: Victim,
    attack: Any,
    block: Block,
    norm: str,
    epsilon: float,
    *,
    batch_size: int = 64,
    seed: int = 0,
    surrogate: Surrogate | None = None,
    has_gradient: bool = True,
    spec: AttackSpec | None = None,
) -> Run:
    classes = victim.logits(block.x[:1]).shape[1] if len(block) else 2
    verifier = Verifier(victim, NORM[norm], epsilon)
    surrogate = surrogate or naive(victim)
    setup = Setup(
        spec=spec or spec_of(type(attack)),
        attack=attack,
        surrogate=surrogate,
        verifier=verifier,
        classes=classes,
        has_gradient=has_gradient,
        seed=seed,
        key="test",
        batch_size=batch_size,
    )
    outcome, log = attack_block(setup, block, lambda finished, broken: None)
    return Run(outcome, verifier, log)
