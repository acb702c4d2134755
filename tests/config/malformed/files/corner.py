"""A plugin for tests: it knows one norm, and refuses some of its parameters."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.api import SCORES, NonNegativeInt, Observation, State, Task, attack, hookimpl, param


@attack(name="corner", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Corner:
    """Looks at some corners of the ball."""

    first: NonNegativeInt = param(0, "the first corner")
    last: NonNegativeInt = param(9, "the last corner")

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("last comes before first")

    @property
    def steps(self) -> int:
        """One corner per step."""
        return self.last - self.first

    def start(self, task: Task) -> State:
        """At the clean image."""
        return State(x=task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """Stays there."""
        return state


@hookimpl
def auditor_attacks() -> list[type]:
    """The attack."""
    return [Corner]
