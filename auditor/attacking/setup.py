"""What an attack runs with, and when it has to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from auditor.attacking.verify import Verifier
from auditor.maths.objectives import Objective
from auditor.protocols.attack import GRADIENT, AttackSpec, Trust, Wishes, wishes_of
from auditor.results import Challenge
from auditor.surrogate import Surrogate


class OutOfTimeError(Exception):
    """The work was stopped between two steps; the text says why."""


#: Called as images are finished, with (finished, broken) so far.
Progress = Callable[[int, int], None]
#: Why no further step is to be begun; empty while it may be.
Stop = Callable[[], str]


def go_on() -> str:
    """Nothing stops the work."""
    return ""


def proceed(stop: Stop) -> None:
    """Begin a further step.

    Raises:
        OutOfTimeError: `stop` says so.
    """
    if reason := stop():
        raise OutOfTimeError(reason)


@dataclass(frozen=True)
class Setup:
    """An attack, and all that it runs with: one model, one threat.

    Attributes:
        spec: describes the attack; a part of a composite's battery has the composite's.
        attack: of whichever kind `spec` says.
        surrogate: what it runs on.
        verifier: the victim and the threat.
        classes: K.
        key: names the attack and its parameters in the random numbers.
        batch_size: at most so many points are evaluated at once, or one image's lanes that advance
            side by side.
        search: the surrogate of stages that ask for a faster precision; None is `surrogate`.
        has_gradient: whether autograd reaches the input at all, for composites to know.
        trust: what the attack trusts on these surrogates; None works it out for the victim's own.
        stop: looked at before every step.
        itself: whether the surrogates are the victim's, repaired or not, and no other model's.
    """

    spec: AttackSpec
    attack: Any
    surrogate: Surrogate
    verifier: Verifier
    classes: int
    seed: int
    key: str
    batch_size: int
    search: Surrogate | None = None
    has_gradient: bool = True
    trust: Trust | None = None
    stop: Stop = go_on
    itself: bool = True

    @cached_property
    def wishes(self) -> Wishes:
        """What the attack asks of the engine."""
        return wishes_of(self.attack)

    def trusts(self, objective: Objective) -> Trust:
        """What the attack trusts where it climbs `objective`."""
        if self.trust is not None:
            return self.trust
        if self.spec.needs != GRADIENT or self.surrogate.draws > 1:
            return "nothing"
        return "cross-entropy" if objective.name == "cross-entropy" else "gradient"

    @cached_property
    def challenge(self) -> Challenge | None:
        """How the attack challenges what withstood the gradient; None where it does not.

        A search that asks for scores alone does, and so does the repaired gradient. Points that do
        not depend on what was seen are no search. Other models, other losses and averages of the
        model's own gradient say nothing of a gradient that is not there.
        """
        if not self.itself:
            return None
        if self.spec.needs != GRADIENT:
            return None if self.wishes.blind else "queries"
        return "repaired" if self.surrogate.repairs else None
