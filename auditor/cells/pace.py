"""How fast a model has been so far: what there is to expect of a check before it begins."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.cells.columns import Outcomes


@dataclass(frozen=True)
class Pace:
    """What the attacks on a model took."""

    #: Seconds, and passes of single images forwards and backwards.
    seconds: float
    passes: int

    @classmethod
    def of(cls, outcomes: Outcomes, model: str) -> Pace:
        """Of all attacks on `model`, in this session and in earlier ones."""
        metas = [meta for key, one in outcomes.items() if key.model == model for meta in one.metas]
        passes = sum(meta.forwards + meta.backwards for meta in metas)
        return cls(sum(meta.seconds for meta in metas), passes)

    def expected(self, passes: int) -> float | None:
        """Seconds for so many passes at that pace; None where nothing was measured."""
        return passes * self.seconds / self.passes if self.passes else None
