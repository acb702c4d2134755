"""Accuracies of both models on the same images, and whether they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from auditor.comparison.images import Seen
from auditor.comparison.result import Change, Discordant, Images, ModelChange, Outcome
from auditor.maths.intervals import accuracy
from auditor.maths.paired import difference_interval, fisher, holm, mcnemar
from auditor.results import Accuracy, ModelResult, ThreatResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A difference is beyond chance where the chance of one as large is at most this.
LEVEL = 0.05
#: Images in common below which no limit is judged to be kept.
FEWEST = 50


@dataclass(frozen=True)
class Paired:
    """The images that both audits have: the rows of each in which they stand, (m,)."""

    a: Seen
    b: Seen
    rows_a: NDArray[np.int64]
    rows_b: NDArray[np.int64]

    @classmethod
    def of(cls, a: Seen, b: Seen) -> Paired:
        """The images of the same content and label."""
        _, rows_a, rows_b = np.intersect1d(a.key, b.key, assume_unique=True, return_indices=True)
        return cls(a, b, rows_a, rows_b)

    @property
    def images(self) -> Images:
        """How many they are."""
        common = len(self.rows_a)
        return Images(common, len(self.a.key) - common, len(self.b.key) - common)

    def clean(self, a: ModelResult, b: ModelResult) -> Change | None:
        """Clean images."""
        if a.name not in self.a.clean or b.name not in self.b.clean:
            return None
        return self._change(self.a.clean[a.name], self.b.clean[b.name])

    def robust(
        self,
        models: tuple[ModelResult, ModelResult],
        threats: tuple[ThreatResult, ThreatResult],
        counts: Callable[[str], bool],
    ) -> Change:
        """The worst case under a threat, of the attacks that `counts`."""
        right = [
            seen.withstood(model.name, threat.norm, threat.epsilon, counts)
            for seen, model, threat in zip((self.a, self.b), models, threats, strict=True)
        ]
        return self._change(*right)

    def _change(self, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Change:
        """Of (n,) and (m,) verdicts on all images of each audit."""
        one, other = a[self.rows_a], b[self.rows_b]
        total = len(one)
        lost, won = self._images(one & ~other), self._images(other & ~one)
        p = mcnemar(len(lost), len(won))
        return Change(
            a=accuracy(int(one.sum()), total),
            b=accuracy(int(other.sum()), total),
            change=(len(won) - len(lost)) / total,
            ci95=difference_interval(len(lost), len(won), total),
            test="mcnemar",
            p=p,
            p_adjusted=p,
            outcome="no difference",
            fails=None,
            lost=lost,
            won=won,
            both_right=int((one & other).sum()),
            both_wrong=int((~one & ~other).sum()),
        )

    def _images(self, which: NDArray[np.bool_]) -> tuple[Discordant, ...]:
        rows_a, rows_b = self.rows_a[which], self.rows_b[which]
        columns = self.a.id[rows_a], self.b.id[rows_b], self.a.label[rows_a]
        found = sorted(zip(*(column.tolist() for column in columns), strict=True))
        return tuple(Discordant(*one) for one in found)


def unpaired(a: Accuracy, b: Accuracy) -> Change:
    """Two accuracies of which it is not known who was right about which image."""
    p = fisher(a.correct, a.total, b.correct, b.total)
    return Change(
        a=a,
        b=b,
        change=b.accuracy - a.accuracy,
        ci95=None,
        test="fisher",
        p=p,
        p_adjusted=p,
        outcome="no difference",
        fails=None,
    )


def robust_changes(models: Iterable[ModelChange]) -> Iterator[Change]:
    """Every robust accuracy that is tested."""
    for model in models:
        for threat in model.threats:
            yield from (one for one in (threat.robust, threat.shared) if one is not None)


def judged(models: tuple[ModelChange, ...], limit: float | None) -> tuple[ModelChange, ...]:
    """The models with what the tests say, those of robust accuracies and clean ones each together.

    Args:
        limit: a drop of a robust accuracy fails beyond it; None where nothing is judged.
    """
    clean = iter(holm([model.clean.p for model in models]))
    robust = iter(holm([one.p for one in robust_changes(models)]))
    return tuple(
        replace(
            model,
            clean=_settled(model.clean, next(clean), None),
            threats=tuple(
                replace(
                    threat,
                    robust=threat.robust and _settled(threat.robust, next(robust), limit),
                    shared=threat.shared and _settled(threat.shared, next(robust), limit),
                )
                for threat in model.threats
            ),
        )
        for model in models
    )


def _settled(one: Change, p: float, limit: float | None) -> Change:
    """A change whose adjusted p-value is known."""
    outcome: Outcome = "no difference"
    if p <= LEVEL:
        outcome = "worse" if one.change < 0 else "better"
    fails = None if limit is None else outcome == "worse" and -one.change > limit
    return replace(one, p_adjusted=p, outcome=outcome, fails=fails)
