"""One property of one thing that a plugin offers, and what it says when it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Violation:
    """How a property was found broken.

    Attributes:
        property: its name.
        seen: what happened, and where.
        expected: what should have happened.
        cause: the likeliest reason, in terms of the author's code, and the way out.
        error: what the author's code raised, if it did.
    """

    property: str
    seen: str
    expected: str
    cause: str
    error: BaseException | None = field(default=None, compare=False)


class NonConformance(AssertionError):  # noqa: N818 (an assertion about other people's code)
    """A property does not hold; the text says what was seen, expected, and likely the cause."""

    def __init__(self, what: str, violation: Violation) -> None:
        self.violation = violation
        lines = [
            f'{what} does not hold the property "{violation.property}".',
            f"  seen:      {violation.seen}",
            f"  expected:  {violation.expected}",
            f"  likely:    {violation.cause}",
        ]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Case:
    """One property of one attack, check or data adapter.

    Attributes:
        thing: such as "attack 'pgd'".
        property: its name, as in `docs/writing-a-plugin.md`.
        meaning: the property as a sentence.
    """

    thing: str
    property: str
    meaning: str
    _look: Callable[[], Violation | None] = field(repr=False)

    def run(self) -> None:
        """Look whether the property holds.

        Raises:
            NonConformance: it does not.
        """
        __tracebackhide__ = True
        violation = self._look()
        if violation is not None:
            raise NonConformance(self.thing, violation) from violation.error

    def __str__(self) -> str:
        return f"{self.thing}: {self.property}"
