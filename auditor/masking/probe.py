"""What a check gets to see of a model, and its way to attack it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from auditor.attacking.outcome import TRUSTS, Block, Outcome
from auditor.attacking.setup import Progress, Setup, Stop, go_on
from auditor.attacking.stages import attack_block
from auditor.attacking.verify import Verifier
from auditor.cells.cell import ModelUnderAudit
from auditor.maths.norms import Ball, Norm
from auditor.maths.randomness import Noise
from auditor.protocols.attack import GRADIENT, Trust, passes_of, spec_of, wishes_of
from auditor.protocols.check import Attempt, Symptom
from auditor.results import AttemptSummary
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, Trace, trace

#: Images that the operations are traced on.
_TRACED = 8


@dataclass
class Fallen:
    """Which images of a block have been broken, and by what: (n,) bool each.

    Each holds what the one before it holds: an attack that trusts the cross-entropy's gradient
    trusts the gradient.
    """

    by: dict[Trust, torch.Tensor]

    @classmethod
    def nothing(cls, images: int, device: torch.device) -> Fallen:
        """No image has fallen yet."""
        return cls(
            {trust: torch.zeros(images, dtype=torch.bool, device=device) for trust in TRUSTS}
        )

    def copy(self) -> Fallen:
        """The same, which changes by itself."""
        return Fallen({trust: rows.clone() for trust, rows in self.by.items()})

    def note(
        self, broken: torch.Tensor, trust: torch.Tensor, rows: torch.Tensor | slice = slice(None)
    ) -> None:
        """Take in an outcome on the images `rows`: (m,) bool, and (m,) places in `TRUSTS`."""
        for place, name in enumerate(TRUSTS):
            self.by[name][rows] |= broken & (trust <= place)


@dataclass
class EngineProbe:
    """The `auditor.protocols.check.Probe` of one check.

    Attributes:
        label: the check's, which names its random numbers.
        standing: what has fallen so far, brought up to date by each attempt.
        known: what earlier checks found.
        stop: looked at before every step of an attack.
        begins: told before each attempt its name, its images, and its passes at most.
        progress: told as images of an attempt are finished.
        outcome: of what the check's attempts broke within the threat.
    """

    label: str
    block: Block
    model: ModelUnderAudit
    norm: Norm
    epsilon: float
    others: dict[str, Surrogate]
    stand_in: Surrogate | None
    seed: int
    batch_size: int
    standing: Fallen
    known: tuple[Symptom, ...]
    stop: Stop = go_on
    begins: Callable[[str, int, int], None] = lambda name, images, passes: None
    progress: Progress = lambda finished, broken: None
    outcome: Outcome = field(init=False)
    attempts: list[AttemptSummary] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outcome = Outcome.empty(self.block, 0)
        #: Copies, so that no check can change what claims are verified against.
        self.x, self.y = self.block.x.clone(), self.block.y.clone()
        self.ball = Ball(self.norm, self.epsilon, self.x)

    @property
    def classes(self) -> int:
        """K."""
        return self.model.preflight.classes

    @property
    def victim(self) -> Victim:
        """The model as deployed."""
        return self.model.victim

    @property
    def surrogate(self) -> Surrogate:
        """The victim's own autograd, in the precision that attacks run in."""
        return self.model.surrogate

    @property
    def has_gradient(self) -> bool:
        """Whether autograd reaches the pixels at all."""
        return self.model.preflight.has_gradient

    @property
    def random(self) -> bool:
        """Whether the model's answers vary."""
        return self.victim.draws > 1

    @property
    def symptoms(self) -> tuple[Symptom, ...]:
        """What earlier checks found."""
        return self.known

    @cached_property
    def trace(self) -> Trace:
        """The operations between pixels and scores."""
        return trace(self.victim, self.x[:_TRACED])

    def fallen(self, trust: Trust = "nothing") -> torch.Tensor:
        """(n,) bool: broken by attacks that trust at least so much."""
        return self.standing.by[trust].clone()

    def survivors(self, most: int | None = None) -> torch.Tensor:
        """(m,) rows that no attack has broken, the first `most` of them."""
        return (~self.standing.by["nothing"]).nonzero().flatten()[:most]

    def noise(self, purpose: str, rows: torch.Tensor) -> Noise:
        """Random numbers for images `rows`, a function of seed, check, purpose and image."""
        zero = torch.zeros_like(rows)
        key = (f"check {self.label}", purpose)
        return Noise(self.seed, key, self.block.image[rows], zero, zero, self.x.dtype)

    def attack(
        self,
        name: str,
        attack: Any,
        rows: torch.Tensor,
        *,
        surrogate: Surrogate | None = None,
        trust: Trust | None = None,
        epsilon: float | None = None,
        control: bool = False,
    ) -> Attempt:
        """Run an attack on the images `rows` (m,); what it breaks within the threat counts."""
        part = Block(self.block.x[rows], self.block.y[rows], self.block.image[rows])
        size = self.epsilon if epsilon is None else epsilon
        verifier = Verifier(self.victim, self.norm, size)
        used = surrogate or self.surrogate
        if trust is None and surrogate not in (None, self.surrogate):
            trust = "nothing"
        setup = Setup(
            spec=spec_of(type(attack)),
            attack=attack,
            surrogate=used,
            verifier=verifier,
            classes=self.classes,
            seed=self.seed,
            key=f"check {self.label} {name}",
            batch_size=self.batch_size,
            trust=trust,
            stop=self.stop,
            itself=used.model is self.surrogate.model,
        )
        self.begins(name, len(rows), len(rows) * used.draws * self._each(attack))
        found, _ = attack_block(setup, part, self.progress)
        self.attempts.append(
            AttemptSummary(
                name,
                used.name,
                trust or _trust_of(attack),
                size,
                len(rows),
                int(found.broken.sum()),
                "masked copy" if control else "model",
            )
        )
        for reason, count in verifier.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count
        if epsilon is None and not control:
            self.standing.note(found.broken, found.trust, rows)
            self.outcome.merge(found, rows)
        return Attempt(rows, found.broken, found.margin, found.adversarial)

    def _each(self, attack: Any) -> int:
        """Passes of an image that withstands, 0 where the attack cannot say."""
        try:
            return sum(passes_of(attack, self.classes))
        except Exception:  # the attack's own code ran: what is wrong there is told when it runs
            return 0


def _trust_of(attack: Any) -> Trust:
    """What an attack on the victim's own autograd trusts as a whole."""
    if spec_of(type(attack)).needs != GRADIENT:
        return "nothing"
    return "cross-entropy" if wishes_of(attack).loss == "cross-entropy" else "gradient"
