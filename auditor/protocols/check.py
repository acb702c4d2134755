"""The check protocol: a check looks at a model, may start attacks, and says what it saw.

A check is a frozen dataclass whose fields are its parameters, with one function, `run`. It is
given a `Probe`: the images, the victim, its surrogates, what has fallen so far, and a way to
attack. Every adversarial example that an attack finds is verified, counts, and may reveal a hidden
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch

from auditor.maths.norms import Ball
from auditor.maths.randomness import Noise
from auditor.parameters import Spec
from auditor.protocols.attack import Trust
from auditor.results import DirectionCurve, MaskingKind, Measurement, PlantedControl
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, Trace

_T = TypeVar("_T")

#: What kind of thing a symptom is about: two symptoms of different families support each other.
Family = Literal["contract", "gradient", "unbounded", "binarization", "comparison"]


@dataclass(frozen=True)
class Symptom:
    """Something that makes the gradient suspect; becomes a finding of the report."""

    family: Family
    title: str
    remedy: str
    evidence: tuple[str, ...] = ()
    #: So marked that it needs no second symptom beside it.
    strong: bool = False
    #: What kind of masking it points at, and where, if it can tell.
    kind: MaskingKind | None = None
    culprit: str | None = None
    #: The code of the pre-flight finding that tells the same fact. Where pre-flight has told it,
    #: this one's evidence joins that finding; the verdict counts the symptom either way.
    fact: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What a check has to say."""

    #: What it saw, in a sentence of plain language.
    sentence: str
    symptoms: tuple[Symptom, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    #: False where there was nothing to look at; the sentence says why.
    applies: bool = True
    directions: tuple[DirectionCurve, ...] = ()
    control: PlantedControl | None = None


def not_applicable(why: str) -> CheckReport:
    """The report of a check that has nothing to look at."""
    return CheckReport(why, applies=False)


@dataclass(frozen=True)
class Attempt:
    """What an attack did to the m images it was run on."""

    #: (m,) int64 rows of `Probe.x`.
    rows: torch.Tensor
    #: (m,) bool, verified on the victim.
    broken: torch.Tensor
    #: (m,) float64, the largest margin reached, of the example where broken.
    margin: torch.Tensor
    #: (m, C, H, W), the example where broken, the clean image elsewhere.
    adversarial: torch.Tensor


class Probe(Protocol):
    """What a check may look at and use. The images are those that the model classifies correctly.

    Threat and epsilon are those of the masking verdict: the largest epsilon of the first threat.
    """

    #: (n, C, H, W) clean images in [0, 1], and (n,) labels.
    x: torch.Tensor
    y: torch.Tensor
    ball: Ball
    classes: int
    victim: Victim
    #: The victim's own autograd, in the precision that attacks run in.
    surrogate: Surrogate
    has_gradient: bool
    #: Surrogates of the other models of the audit that fit these images, by name.
    others: dict[str, Surrogate]
    #: The user's differentiable stand-in, `bpda` in audit.toml.
    stand_in: Surrogate | None

    @property
    def trace(self) -> Trace:
        """The operations between pixels and scores."""

    @property
    def random(self) -> bool:
        """Whether the model's answers vary."""

    @property
    def symptoms(self) -> tuple[Symptom, ...]:
        """What earlier checks found."""

    def fallen(self, trust: Trust = "nothing") -> torch.Tensor:
        """(n,) bool: broken by attacks that trust at least so much; "nothing": by any attack.

        "gradient": those that follow the model's own gradient, of whatever objective.
        """

    def survivors(self, most: int | None = None) -> torch.Tensor:
        """(m,) rows that no attack has broken, the first `most` of them."""

    def noise(self, purpose: str, rows: torch.Tensor) -> Noise:
        """Random numbers for images `rows`, a function of seed, check, purpose and image."""

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
        """Run an attack on the images `rows` (m,); what it breaks within the threat counts.

        Args:
            name: for the report and the random numbers.
            attack: an instance of an attack class, plain or composite.
            surrogate: what it runs on; None is the victim's own autograd.
            trust: what it trusts; None works it out, another surrogate than the victim's own
                autograd being trust in nothing.
            epsilon: another radius than the threat's; then nothing counts.
            control: `surrogate` is of a copy that was masked on purpose; then nothing counts.
        """


class Check(Protocol):
    """What the engine calls. A check may also say what it costs:

    `cost(images, classes, *, random)`: forward and backward passes of single images at most, on so
        many images that all withstand, verification apart; `random`: of a model whose answers vary.
    """

    def run(self, probe: Probe) -> CheckReport:
        """Look, and say what was seen. Whatever it raises is a finding."""


#: Models whose gradient a check can find at fault; "no model": it only explains what others found.
Doubts = Literal["every model", "random models", "no model"]


@dataclass(frozen=True)
class CheckSpec(Spec):
    """A check class."""

    doubts: Doubts = "every model"
    #: What `metric` of [[gate]] may name.
    measures: tuple[str, ...] = ()


def check(
    *,
    name: str,
    reference: str,
    doubts: Doubts = "every model",
    measures: Sequence[str] = (),
) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that says what a check is called.

    Args:
        name: what users write after `use =`.
        reference: the paper, with section or equation.
        doubts: the models that it can cast a doubt on; of all others, a battery says as much
            without it.
        measures: the names of measurements that it may make: a gate can be on these, and on no
            other.
    """

    def describe(cls: type[_T]) -> type[_T]:
        spec = CheckSpec(name, cls, reference, doubts, tuple(measures))
        cls.check_spec = spec  # type: ignore[attr-defined]
        return cls

    return describe


def check_spec_of(cls: Any) -> CheckSpec:
    """The description that the `check` decorator left on a class.

    Raises:
        TypeError: the class was not decorated.
    """
    spec = getattr(cls, "check_spec", None)
    if not isinstance(spec, CheckSpec):
        raise TypeError(f"{cls!r} is not a check: decorate it with @check(...)")
    return spec
