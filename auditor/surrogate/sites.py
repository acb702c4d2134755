"""Where and how a model's gradient is lost: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: "narrows": slopes may vanish in a smaller floating-point type; nothing is repaired.
Effect = Literal["cuts", "flattens", "replaces", "narrows", "hides", "random", "leaves torch"]
#: What a rule says of an operation: repaired "quiet"ly, it is no site of its own.
Treatment = Effect | Literal["quiet"]


@dataclass(frozen=True)
class Site:
    """An operation without an honest gradient, on the way from the input to the logits."""

    operation: str
    #: Its name alone: where the audit is run from must not change the result.
    file: str
    line: int
    #: Dotted path of the module being called; empty for the model itself.
    module: str
    effect: Effect
    #: All of it in words.
    where: str
    #: The gradient to the input is zero, cut or false because of it.
    essential: bool = False

    def __str__(self) -> str:
        return self.where
