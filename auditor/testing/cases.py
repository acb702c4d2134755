"""From a plugin to the properties that it has to hold."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from auditor.testing import adapters, attacks, checks, strength
from auditor.testing.offered import Parameters, Subject, subjects
from auditor.testing.property import Case, Violation


def _attack_properties() -> dict[str, tuple[str, attacks.Look]]:
    """All but its description can be seen only in runs."""
    everything = attacks.PROPERTIES | strength.PROPERTIES
    return {
        name: (meaning, look if name == "described" else attacks.seen_to_hold(name, look))
        for name, (meaning, look) in everything.items()
    }


#: What is made of a subject, and its properties by name: (meaning, look).
_KINDS: dict[str, tuple[Callable[[Subject], Any], dict[str, Any]]] = {
    "attack": (attacks.AttackTrial, _attack_properties()),
    "check": (checks.CheckTrial, checks.PROPERTIES),
    "data adapter": (adapters.AdapterTrial, adapters.PROPERTIES),
}


#: What an attack that keeps its own loop need not hold: it has no State, may draw from one seeded
#: generator for a whole batch, and is never given an empty one.
_NOT_OF_WHOLE = ("state-rows", "seed", "batch", "empty-batch")


def cases(module: ModuleType, parameters: Parameters) -> list[Case]:
    """All properties of all that `module` offers.

    Raises:
        LoadError: what it offers cannot be read.
    """
    return [case for subject in subjects(module, parameters) for case in _cases(subject)]


def _cases(subject: Subject) -> list[Case]:
    try:
        _ = subject.made
    except (ValidationError, TypeError, ValueError) as error:
        return [_not_built(subject, error)]
    make, properties = _KINDS[subject.kind]
    trial = make(subject)
    if hasattr(subject.made, "perturb"):
        properties = {key: one for key, one in properties.items() if key not in _NOT_OF_WHOLE}
    return [
        Case(subject.name, name, meaning, _bound(look, trial))
        for name, (meaning, look) in properties.items()
    ]


def _bound(look: Callable[[Any], Violation | None], trial: Any) -> Callable[[], Violation | None]:
    return lambda: look(trial)


def _not_built(subject: Subject, error: Exception) -> Case:
    """A case that fails: it cannot be built from the parameters."""
    why = str(error)
    if isinstance(error, ValidationError):
        why = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
    needed = ", ".join(one.name for one in subject.spec.parameters if one.required)
    violation = Violation(
        "built",
        f"it cannot be built: {why}",
        "that defaults, and the parameters given here, suffice",
        f'give {needed or "the parameters"}: parameters={{"{subject.spec.name}": {{...}}}} in the '
        f"mark, or --set {subject.spec.name}.KEY=VALUE on the command line",
        error,
    )
    return Case(subject.name, "built", "It can be built.", lambda: violation)
