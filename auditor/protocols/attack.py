"""The attack protocol: an attack proposes images, the engine evaluates them.

An attack is a frozen dataclass whose fields are its parameters, with two pure functions over a
batch of independent images: `start` makes a state, `step` turns a state and what was observed at
its `x` into the next state. It never calls the model. Counting, noticing success, dropping fooled
images, refilling the batch, restarts and verification are the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

import torch

from auditor.maths.norms import Ball
from auditor.maths.objectives import ObjectiveName
from auditor.maths.randomness import Noise
from auditor.parameters import Spec

#: What an attack may ask of the model.
GRADIENT = "gradient"
SCORES = "scores"

#: What an attack trusts: the gradient of the cross-entropy, the model's own gradient of another
#: objective, or no gradient of the model.
Trust = Literal["cross-entropy", "gradient", "nothing"]

#: What an attack does: proposes steps, composes stages of others, or keeps a loop of its own.
Kind = Literal["steps", "stages", "own loop"]
#: What tells its kind: the first of these methods that it has.
_KINDS: dict[str, Kind] = {"stages": "stages", "perturb": "own loop", "start": "steps"}
#: The methods that it may have besides.
_OPTIONAL = ("passes", "lane_passes", "battery")

_T = TypeVar("_T")


@dataclass
class State:
    """What an attack remembers between steps: tensors with one row per image, nothing else.

    Subclass it (as a dataclass) to remember more. `x` is (B, C, H, W), the points to evaluate next,
    or (B, Q, C, H, W) for attacks whose `points` Q is more than 1. A field `done`, (B,) bool, says
    which images need no further step: their `x` is evaluated once more, and they leave. A field
    `outside`, (B,) bool, says whose `x` lies outside the ball on purpose, on its way to a point
    inside: it is no claim.
    """

    x: torch.Tensor


@dataclass(frozen=True)
class Observation:
    """What the engine saw at `state.x`; a Q axis follows B where the state has one."""

    #: (B, K), detached.
    logits: torch.Tensor
    #: (B,), the objective, larger is closer to success.
    loss: torch.Tensor
    #: Like `state.x`, d loss / d x; None where the attack does not need it. Rows that were not
    #: finite are zero here, and counted in the report. For attacks with `jacobian`,
    #: (B, K, C, H, W), d logits / d x.
    gradient: torch.Tensor | None


@dataclass(frozen=True)
class Task:
    """The images an attack works on, and what it may use."""

    #: (B, C, H, W) clean images in [0, 1].
    x: torch.Tensor
    #: (B,) int64 true labels.
    y: torch.Tensor
    #: The threat's ball around `x`: project, sample, steepest.
    ball: Ball
    #: (B,) int64, how often `step` has been called for each image in this restart.
    step: torch.Tensor
    _noise: Noise
    #: (B,) int64 classes that the objective and its gradient aim at; None if untargeted. Whatever
    #: the target, an image has fallen once any wrong class wins.
    target: torch.Tensor | None = None
    #: (B, C, H, W) points to start from, in `start`; None where the attack chooses them.
    origin: torch.Tensor | None = None
    #: (B,) int64, which restart of the image this is, from 0; None is 0 everywhere.
    restart: torch.Tensor | None = None

    def noise(self, purpose: str) -> Noise:
        """Random numbers of these images for `purpose`, new ones at every call and restart."""
        return self._noise.named(purpose)


class Attack(Protocol):
    """What the engine calls. Besides `steps`, these fields are read where an attack has them:

    `restarts` (default 1): how often the engine starts again on images that withstood;
    `targets` (default 0): how many wrong classes it aims at in turn, those with the largest clean
        logits first; 0 is an untargeted attack;
    `loss` (default "margin"): the objective to observe;
    `eot` (default 1): how many evaluations logits, loss and gradient are averaged over;
    `points` (default 1): how many points per step it looks at, the axis Q of `State.x`;
    `jacobian` (default False): the gradient to observe is that of every logit;
    `minimises` (default False): it looks for the smallest perturbation; its points may lie outside
        the ball, and the nearest adversarial one is recorded;
    `minimise` (default as `minimises`): whether it goes on with an image that has fallen;
    `blind` (default False): its points do not depend on what was seen at those before, so that
        it is no search;
    `second_run` (default False): it is run twice from the start, with other random numbers, and the
        two are compared;
    `lane_passes(classes)`: forward and backward passes of one restart with one target, if it finds
        nothing; where an attack does not say it, they follow from `steps` and the fields above.
    """

    @property
    def steps(self) -> int:
        """How often `step` is called; the engine evaluates steps + 1 points per restart."""

    def start(self, task: Task) -> State:
        """The first points to evaluate."""

    def step(self, task: Task, state: Any, seen: Observation) -> State:
        """The next points, from what was seen at the current ones."""


@dataclass(frozen=True)
class AttackSpec(Spec):
    """An attack class with its abilities.

    Attributes:
        has: the methods among `passes`, `lane_passes` and `battery` that it has.
    """

    norms: frozenset[str]
    needs: str
    any_norm: bool
    kind: Kind
    has: frozenset[str]

    def knows(self, norm: str) -> bool:
        """Whether it attacks under this norm."""
        return self.any_norm or norm in self.norms

    @property
    def sampled(self) -> bool:
        """Whether it is a composite whose survivors are sampled (`composite.Sampled`)."""
        return self.kind == "stages" and "battery" in self.has


@dataclass(frozen=True)
class Wishes:
    """What an attack asks of the engine; `Attack` says what each means."""

    restarts: int
    targets: int
    loss: ObjectiveName
    eot: int
    points: int
    jacobian: bool
    minimises: bool
    minimise: bool
    blind: bool
    second_run: bool


def wishes_of(attack: Any) -> Wishes:
    """What `attack` asks for, defaults filled in."""
    minimises = bool(getattr(attack, "minimises", False))
    return Wishes(
        restarts=int(getattr(attack, "restarts", 1)),
        targets=int(getattr(attack, "targets", 0)),
        loss=getattr(attack, "loss", "margin"),
        eot=int(getattr(attack, "eot", 1)),
        points=int(getattr(attack, "points", 1)),
        jacobian=bool(getattr(attack, "jacobian", False)),
        minimises=minimises,
        minimise=minimises and bool(getattr(attack, "minimise", True)),
        blind=bool(getattr(attack, "blind", False)),
        second_run=bool(getattr(attack, "second_run", False)),
    )


def lane_passes_of(attack: Any, classes: int) -> tuple[int, int]:
    """Forward and backward passes of one restart with one target, if it finds nothing.

    Raises:
        TypeError: its class was not decorated.
        Exception: whatever the attack's own code raises.
    """
    spec = spec_of(type(attack))
    if "lane_passes" in spec.has:
        forwards, backwards = attack.lane_passes(classes)
        return int(forwards), int(backwards)
    wishes = wishes_of(attack)
    each = wishes.eot * wishes.points
    slopes = 0 if spec.needs != GRADIENT else classes if wishes.jacobian else 1
    return each * (attack.steps + 1), each * attack.steps * slopes


def passes_of(attack: Any, classes: int) -> tuple[int, int]:
    """Forward and backward passes of an image that withstands, verification apart.

    Of a composite, or an attack with a loop of its own, what it says itself.

    Raises:
        TypeError: its class was not decorated.
        Exception: whatever the attack's own code raises.
    """
    wishes = wishes_of(attack)
    if spec_of(type(attack)).kind == "steps":
        lanes = wishes.restarts * (min(wishes.targets, classes - 1) or 1)
        forwards, backwards = (lanes * each for each in lane_passes_of(attack, classes))
    else:
        forwards, backwards = attack.passes(classes)
    runs = 2 if wishes.second_run else 1
    return int(runs * forwards), int(runs * backwards)


def attack(
    *, name: str, norms: Collection[str], needs: str, reference: str, any_norm: bool = False
) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that says what an attack is called and able to do.

    Args:
        name: what users write after `use =`.
        norms: names of the norms it knows, such as {"linf", "l2"}.
        needs: GRADIENT, or SCORES for attacks that look at logits only.
        reference: the paper, with equation or algorithm number.
        any_norm: whether the norms of plugins will do as well: it uses nothing of a norm but the
            methods of `task.ball`.

    Raises:
        TypeError: the class has none of the methods that an attack of any kind has.
    """

    def describe(cls: type[_T]) -> type[_T]:
        kind = _kind_of(cls)
        if kind is None:
            raise TypeError(
                f"{cls!r} is not an attack: it has neither `start` and `step`, nor `stages`, nor "
                "`perturb`"
            )
        cls.attack_spec = AttackSpec(  # type: ignore[attr-defined]
            name=name,
            cls=cls,
            reference=reference,
            norms=frozenset(norms),
            needs=needs,
            any_norm=any_norm,
            kind=kind,
            has=_methods_of(cls),
        )
        return cls

    return describe


def _kind_of(cls: type) -> Kind | None:
    return next((kind for name, kind in _KINDS.items() if callable(getattr(cls, name, None))), None)


def _methods_of(cls: type) -> frozenset[str]:
    return frozenset(name for name in _OPTIONAL if callable(getattr(cls, name, None)))


def spec_of(cls: Any) -> AttackSpec:
    """The description that the `attack` decorator left on a class.

    A class that has it from another, which it inherits from or wraps, is described by its own
    methods, and by the other's where it has none.

    Raises:
        TypeError: the class was not decorated.
    """
    spec = getattr(cls, "attack_spec", None)
    if not isinstance(spec, AttackSpec):
        raise TypeError(f"{cls!r} is not an attack: decorate it with @attack(...)")
    if spec.cls is cls or not isinstance(cls, type):
        return spec
    kind, has = _kind_of(cls) or spec.kind, spec.has | _methods_of(cls)
    return replace(spec, cls=cls, kind=kind, has=has)
