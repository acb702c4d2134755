"""From a plugin to the properties that it has to hold."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from auditor.protocols.attack import AttackSpec
from auditor.testing import adapters, attacks, checks, strength
from auditor.testing.offered import Offered, Parameters, offers_in
from auditor.testing.property import Case, Violation


def _attack_properties() -> dict[str, tuple[str, attacks.Look]]:
    """All but its description can be seen only in runs."""
    everything = attacks.PROPERTIES | strength.PROPERTIES
    return {
        name: (meaning, look if name == "described" else attacks.seen_to_hold(name, look))
        for name, (meaning, look) in everything.items()
    }


#: What is made of what is offered, and its properties by name: (meaning, how to see it).
_KINDS: dict[str, tuple[Callable[[Offered], Any], dict[str, Any]]] = {
    "attack": (attacks.AttackTrial, _attack_properties()),
    "check": (checks.CheckTrial, checks.PROPERTIES),
    "data adapter": (adapters.AdapterTrial, adapters.PROPERTIES),
}


#: What an attack that keeps its own loop need not hold: it has no State, may draw from one seeded
#: generator for a whole batch, and is never given an empty one.
_NOT_OF_OWN_LOOPS = ("state-rows", "seed", "batch", "empty-batch")


def cases(module: ModuleType, parameters: Parameters) -> list[Case]:
    """All properties of all that `module` offers.

    Raises:
        LoadError: what it offers cannot be read.
    """
    return [case for offered in offers_in(module, parameters) for case in _cases(offered)]


def _cases(offered: Offered) -> list[Case]:
    try:
        _ = offered.made
    except (ValidationError, TypeError, ValueError) as error:
        return [_not_built(offered, error)]
    make, properties = _KINDS[offered.kind]
    trial = make(offered)
    if isinstance(offered.spec, AttackSpec) and offered.spec.kind == "own loop":
        properties = {key: one for key, one in properties.items() if key not in _NOT_OF_OWN_LOOPS}
    return [
        Case(offered.name, name, meaning, _bound(look, trial))
        for name, (meaning, look) in properties.items()
    ]


def _bound(look: Callable[[Any], Violation | None], trial: Any) -> Callable[[], Violation | None]:
    return lambda: look(trial)


def _not_built(offered: Offered, error: Exception) -> Case:
    """A case that fails: it cannot be built from the parameters."""
    why = str(error)
    if isinstance(error, ValidationError):
        why = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
    needed = ", ".join(one.name for one in offered.spec.parameters if one.required)
    violation = Violation(
        "built",
        f"it cannot be built: {why}",
        "that defaults, and the parameters given here, suffice",
        f'give {needed or "the parameters"}: parameters={{"{offered.spec.name}": {{...}}}} in the '
        f"mark, or --set {offered.spec.name}.KEY=VALUE on the command line",
        error,
    )
    return Case(offered.name, "built", "It can be built.", lambda: violation)
