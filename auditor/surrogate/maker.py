"""Surrogates that users choose by name, for single attacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from auditor.surrogate.surrogate import Surrogate

MakeSurrogate = Callable[[Surrogate], Surrogate]


@dataclass(frozen=True)
class SurrogateMaker:
    """What `surrogate = "NAME"` in [[attack]] means.

    `make` is given the victim's own autograd and returns what the attack is to run on: a method of
    it such as `repaired()`, or another module in the victim's place (`with_module`). Whatever an
    attack finds there counts once the victim itself has confirmed it.
    """

    name: str
    make: MakeSurrogate

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.make) or "").split("\n", 1)[0]

    @property
    def doc(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.make) or ""

    def of(self, own: Surrogate) -> Surrogate:
        """The surrogate, under a name by which the report can be read.

        Raises:
            TypeError: `make` returned something else. Beside that, whatever `make` raises.
        """
        made = self.make(own)
        if not isinstance(made, Surrogate):
            raise TypeError(f"it returned {type(made).__name__}, not a Surrogate")
        return made if self.name in made.name else replace(made, name=f"{self.name} ({made.name})")


def surrogate(*, name: str) -> Callable[[MakeSurrogate], SurrogateMaker]:
    """Function decorator that says what users write after `surrogate =`."""
    return lambda make: SurrogateMaker(name, make)
