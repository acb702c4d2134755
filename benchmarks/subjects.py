"""The models and images that the benchmarks attack, and the two ways to attack them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from common import HERE
from torch import nn

from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.pool import Pool
from auditor.attacking.setup import Setup
from auditor.attacking.stages import Log, attack_block
from auditor.attacking.verify import Verifier
from auditor.maths.objectives import choose_objective
from auditor.maths.randomness import Noise
from auditor.preflight import read_batch
from auditor.protocols.attack import Observation, Task, spec_of
from auditor.registry import Registry, load_registry
from auditor.subject.loading import Factory, Weights, load_module
from auditor.subject.samples import Samples, choose_samples
from auditor.subject.victim import Victim
from auditor.surrogate import naive

EXAMPLE = HERE.parent / "examples" / "fashion_mnist"


class Counted(nn.Module):
    """A model that counts the images it sees forwards and backwards, whoever asks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.forwards = self.backwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The model's logits."""
        self.forwards += len(x)
        z: torch.Tensor = self.module(x)
        if z.requires_grad:
            z.register_hook(self._note_backward)
        return z

    def _note_backward(self, gradient: torch.Tensor) -> None:
        self.backwards += len(gradient)

    def passes(self) -> tuple[int, int]:
        """Forwards and backwards since it was last asked."""
        seen = self.forwards, self.backwards
        self.forwards = self.backwards = 0
        return seen


@dataclass(frozen=True)
class Subject:
    """A victim and images that it classifies correctly; `total` counts the others too."""

    victim: Victim
    block: Block
    total: int

    @cached_property
    def registry(self) -> Registry:
        """The built-in plugins."""
        return load_registry()

    def pool(
        self, parameters: dict[str, Any], norm: str, epsilon: float, batch_size: int, seed: int = 0
    ) -> Pool:
        """PGD with these parameters, as an audit runs it."""
        attack = self.registry.attacks["pgd"].build(parameters)
        setup = self.setup_of(attack, "benchmark", norm, epsilon, batch_size, seed)
        return Pool(setup, choose_objective(setup.wishes.loss, setup.classes))

    def setup(
        self,
        use: str,
        parameters: dict[str, Any],
        norm: str,
        epsilon: float,
        batch_size: int,
        seed: int = 0,
    ) -> Setup:
        """Any attack with these parameters, as an audit runs it."""
        attack = self.registry.attacks[use].build(parameters)
        key = f"{use} {sorted(parameters.items())}"
        return self.setup_of(attack, key, norm, epsilon, batch_size, seed)

    def setup_of(
        self, attack: Any, key: str, norm: str, epsilon: float, batch_size: int, seed: int = 0
    ) -> Setup:
        """Any attack that is there already; `key` names it in the random numbers."""
        return Setup(
            spec=spec_of(type(attack)),
            attack=attack,
            surrogate=naive(self.victim),
            verifier=Verifier(self.victim, self.registry.norms[norm], epsilon),
            classes=self.victim.logits(self.block.x[:1]).shape[1],
            seed=seed,
            key=key,
            batch_size=batch_size,
        )

    def attacked(self, setup: Setup) -> tuple[Outcome, Log]:
        """What comes of its images."""
        return attack_block(setup, self.block, lambda finished, broken: None)

    def at(self, rows: torch.Tensor) -> Subject:
        """The same with the images at these places of the block, (m,)."""
        block = self.block
        few = Block(block.x[rows], block.y[rows], block.image[rows])
        return replace(self, block=few, total=len(few))

    def first(self, count: int) -> Subject:
        """The same with so many of the images."""
        block = self.block
        few = Block(block.x[:count], block.y[:count], block.image[:count])
        return replace(self, block=few, total=count)

    def robust(self, points: torch.Tensor, norm: str, epsilon: float) -> torch.Tensor:
        """(n,) bool: which images withstand, their final `points` being checked by the verifier."""
        verifier = Verifier(self.victim, self.registry.norms[norm], epsilon)
        return ~verifier.check(points, self.block.x, self.block.y).confirmed


def subject_of(name: str, module: nn.Module, samples: Samples) -> Subject:
    """A deterministic model and the images of `samples` that it classifies correctly."""
    victim = _victim(name, module)
    x = read_batch(victim, samples, slice(0, len(samples)))
    y, image = torch.from_numpy(samples.labels), torch.from_numpy(samples.index)
    return _subject(victim, Block(x, y, image))


def subject_of_tensors(name: str, module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Subject:
    """The same of images (n, C, H, W) in [0, 1] and labels (n,); their places are their ids."""
    return _subject(_victim(name, module), Block(x, y, torch.arange(len(y))))


def _victim(name: str, module: nn.Module) -> Victim:
    victim = Victim(name, Counted(module))
    victim.seeded = False  # as pre-flight finds: the model draws no random numbers
    return victim


def _subject(victim: Victim, block: Block) -> Subject:
    right = ~victim.judge(block.x, block.y).wrong
    return Subject(victim, Block(block.x[right], block.y[right], block.image[right]), len(block))


def example(name: str, count: int) -> Subject:
    """A model of the Fashion-MNIST example and a class-balanced draw of `count` images."""
    source = EXAMPLE / "models.py"
    make = "gradient_mask_toy" if name == "gradient-mask-toy" else "cnn"
    weights = EXAMPLE / "weights" / f"{name}.safetensors"
    module, _ = load_module(name, Factory(make, source, make), {"width": 32}, Weights(weights))
    adapter = load_registry().data["npz"].build({"path": str(EXAMPLE / "data" / "test-1000.npz")})
    return subject_of(name, module, choose_samples(adapter.load(), count, 0, "balanced"))


def plain_loop(pool: Pool, block: Block) -> torch.Tensor:
    """The same attack without the engine: every image of a batch takes every step.

    Returns the final points, (n, C, H, W).
    """
    setup, points = pool.setup, []
    for rows in torch.arange(len(block)).split(setup.batch_size):
        x, y, image = block.x[rows], block.y[rows], block.image[rows]
        ball = setup.verifier.ball(x)
        zero = torch.zeros_like(rows)

        def task(step: int, x=x, y=y, image=image, ball=ball, zero=zero) -> Task:
            noise = Noise(setup.seed, (setup.key,), image, zero, zero + step, x.dtype)
            return Task(x, y, ball, zero + step, noise)

        state = setup.attack.start(task(0))
        for step in range(setup.attack.steps):
            seen = setup.surrogate.evaluate(state.x, y, pool.objective, gradient=True)
            seen = Observation(seen.logits, seen.loss, seen.gradient)
            state = setup.attack.step(task(step), state, seen)
        points.append(state.x)
    return torch.cat(points)


def weights_hash(name: str) -> str:
    """The beginning of the sha256 of an example's weights: figures belong to these."""
    path: Path = EXAMPLE / "weights" / f"{name}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
