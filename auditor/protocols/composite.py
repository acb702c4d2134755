"""Composite attacks: several attacks in stages, each on the images that the ones before left.

A composite is a frozen dataclass with a generator `stages`. It yields a `Stage`: an attack and the
lanes to run it on, a lane being (image, target, restart, starting point). The engine runs them,
drops the lanes of an image as soon as it falls, and sends back a `Standing`: who has fallen, how
close the others came, and where. Like any attack, it never calls the model.

A composite may save work by rules of thumb, which some model will fool. One with a `battery` is
therefore held against everything it has: the engine draws a random sample of its survivors, attacks
these with every part, and gives a part that broke any of them to all survivors (`Sampled`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch

from auditor.maths.norms import Ball
from auditor.protocols.attack import Attack, lane_passes_of

#: "exact" is the precision attacks run in by default; "search" may be a faster, coarser one.
StagePrecision = Literal["exact", "search"]
#: Classes among which the nearest are looked for, as in MALT (arXiv:2407.02240).
CANDIDATES = 100


def likeliest_rivals(scores: torch.Tensor, y: torch.Tensor, count: int) -> torch.Tensor:
    """(n, min(count, K - 1)) int64 wrong classes, those with the largest `scores` (n, K) first."""
    wrong = scores.scatter(1, y[:, None], -torch.inf)
    order = wrong.sort(dim=1, descending=True, stable=True).indices
    return order[:, : min(count, scores.shape[1] - 1)]


@dataclass(frozen=True)
class Brief:
    """What a composite knows before it starts."""

    #: (n, C, H, W) clean images in [0, 1], all of them classified correctly.
    x: torch.Tensor
    #: (n,) int64 labels.
    y: torch.Tensor
    ball: Ball
    #: K.
    classes: int
    #: Whether the model's answers vary.
    random: bool
    #: Whether autograd reaches the input at all.
    has_gradient: bool
    #: Whether "search" stages run in a coarser precision than "exact" ones.
    coarse_search: bool
    _ask: Callable[[], torch.Tensor]
    #: Given m rows and (m, T) classes, how far their boundaries seem to be; None if no gradient can
    #: tell.
    _distances: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    @cached_property
    def logits(self) -> torch.Tensor:
        """(n, K) logits of the clean images; the first time, a forward pass each."""
        return self._ask()

    def rivals(self, count: int) -> torch.Tensor:
        """(n, min(count, K - 1)) int64: the wrong classes, those with the largest logits first."""
        return likeliest_rivals(self.logits, self.y, count)

    def rivals_by_distance(
        self, rows: torch.Tensor, count: int, candidates: int = CANDIDATES
    ) -> torch.Tensor:
        """(m, min(count, K - 1)) int64 wrong classes, those that seem nearest to the image first.

        How near is judged by the slopes of the logits at the clean image, as in MALT
        (arXiv:2407.02240). Each call costs an image a forward pass and, for each candidate, a
        backward pass. Classes without a slope come last, those with the largest logits first; so do
        all, where the model has no gradient.

        Args:
            rows: (m,) int64 rows of `x`.
            count: how many classes of each image are wanted.
            candidates: they are chosen among so many with the largest logits, or `count` if more.
        """
        likeliest = self.rivals(max(count, candidates))[rows]
        if self._distances is not None and len(rows):
            order = self._distances(rows, likeliest).argsort(dim=1, stable=True)
            likeliest = likeliest.gather(1, order)
        return likeliest[:, :count]


@dataclass(frozen=True)
class Stage:
    """One attack and the m lanes to run it on.

    Lanes of one image with the same `turn` advance side by side, step by step; those of a later
    turn begin once all of an earlier one have failed.
    """

    #: For the report; stages of one name are added up.
    name: str
    attack: Attack
    #: (m,) int64 rows of `Brief.x`.
    image: torch.Tensor
    #: (m,) int64 classes to aim at; None for an untargeted attack.
    target: torch.Tensor | None = None
    #: (m,) int64, names the random numbers; None is 0 everywhere. Up to 65535.
    restart: torch.Tensor | None = None
    #: (m,) int64; None is 0 everywhere.
    turn: torch.Tensor | None = None
    #: (m, C, H, W) points to start from; None leaves it to the attack.
    origin: torch.Tensor | None = None
    precision: StagePrecision = "exact"
    #: What a reader of the report has to know of it, such as what was replaced by what.
    note: str = ""


@dataclass(frozen=True)
class Standing:
    """How the images stand after a stage."""

    #: (n,) bool, verified on the victim.
    fallen: torch.Tensor
    #: (n,) float64, the largest margin max_{i != y} z_i - z_y that any point has reached so far.
    margin: torch.Tensor
    #: (n, C, H, W), that point; the clean image where no stage has run.
    best: torch.Tensor
    #: (n,) bool, a gradient was zero everywhere or not finite.
    untrusted: torch.Tensor
    #: (m,) float64, the largest margin that each lane of this stage reached; -inf for those never
    #: started.
    lane_margin: torch.Tensor
    #: (n,) float64, the distance of the nearest adversarial example, in the ball or not; infinite
    #: where none has been found. Attacks that minimise find those outside.
    nearest: torch.Tensor


class Composite(Protocol):
    """What the engine calls."""

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """Yields stages, and is sent what came of them."""

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes that an image which withstands is expected to cost."""


@dataclass(frozen=True)
class Part:
    """One attack of an ensemble: untargeted with `restarts`, or aimed at `targets` classes.

    These are the ones with the largest logits, or with `nearest` those whose linearised boundaries
    are the nearest (`Brief.rivals_by_distance`). Where most images withstand, aiming at the classes
    `abreast` fills batches; where most fall, one after another saves passes. Who falls is the same.
    """

    name: str
    attack: Any
    restarts: int = 1
    targets: int = 0
    nearest: bool = False
    abreast: bool = False

    def stage(self, brief: Brief, alive: torch.Tensor) -> Stage:
        """On the images `alive` (m,): restarts, or targets, one after another."""
        if not self.targets:
            turn = torch.arange(self.restarts, device=alive.device).repeat(len(alive))
            image = alive.repeat_interleave(self.restarts)
            return Stage(self.name, self.attack, image, restart=turn, turn=turn)
        rivals = (
            brief.rivals_by_distance(alive, self.targets)
            if self.nearest
            else brief.rivals(self.targets)[alive]
        )
        aims = rivals.shape[1]
        turn = torch.arange(aims, device=alive.device).repeat(len(alive))
        note = ""
        if aims < self.targets:
            note = f"{aims} targets instead of {self.targets}, for there are no more wrong classes"
        return Stage(
            self.name,
            self.attack,
            alive.repeat_interleave(aims),
            target=rivals.flatten(),
            turn=None if self.abreast else turn,
            note=note,
        )

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """The part on its own, on all images."""
        yield self.stage(brief, torch.arange(len(brief.y), device=brief.y.device))

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands."""
        forwards, backwards = lane_passes_of(self.attack, classes)
        lanes = min(self.targets, classes - 1) or self.restarts
        ordering = min(CANDIDATES, classes) if self.nearest else 0
        return lanes * forwards, lanes * backwards + ordering


@dataclass(frozen=True)
class Situation:
    """What the choice of a battery may depend on; `Brief` says what each means."""

    norm: str
    classes: int
    random: bool
    has_gradient: bool


class Sampled(Composite, Protocol):
    """A composite whose survivors are sampled. What a part does to an image must not depend on the
    stages before it: it is the same in the sample as for all.
    """

    #: How many survivors are drawn.
    sample: int
    #: Of the statement about those that were not drawn.
    confidence: float

    def battery(self, situation: Situation) -> Sequence[Part]:
        """Everything there is, the cheapest first."""
