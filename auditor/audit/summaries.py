"""What is said of an attack besides its number: losses, stages, agreement, curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auditor.cells.ledger import CellMeta
from auditor.results import Agreement, CurvePoint, LossSummary, StageSummary

#: A curve has at most so many points.
_CURVE_POINTS = 200


def loss_summaries(loss: NDArray[np.float64] | None) -> tuple[LossSummary, ...]:
    """Quartiles of the last loss of each restart, over the images that saw it: (N, restarts)."""
    if loss is None:
        return ()
    summaries = []
    for restart, column in enumerate(loss.T):
        seen = column[np.isfinite(column)]
        quantiles = None
        if len(seen):
            low, lower, median, upper, high = map(float, np.quantile(seen, [0, 0.25, 0.5, 0.75, 1]))
            quantiles = (low, lower, median, upper, high)
        summaries.append(LossSummary(restart, len(seen), quantiles))
    return tuple(summaries)


def stage_summaries(metas: Sequence[CellMeta]) -> tuple[StageSummary, ...]:
    """The stages of all blocks, in order; those of one name, objective and surrogate are added up.

    Where a name comes again in one block (rounds that are all alike), its images are those of the
    first time.
    """
    total: dict[tuple[str, str, str], StageSummary] = {}
    for meta in metas:
        seen: set[tuple[str, str, str]] = set()
        for stage in meta.stages:
            one = StageSummary(**{k: value for k, value in vars(stage).items() if k != "note"})
            key = one.name, one.objective, one.surrogate
            before = total.get(key)
            total[key] = one if before is None else _added(before, one, again=key in seen)
            seen.add(key)
    return tuple(total.values())


def _added(first: StageSummary, second: StageSummary, *, again: bool) -> StageSummary:
    return replace(
        first,
        images=first.images + (0 if again else second.images),
        broken=first.broken + second.broken,
        forwards=first.forwards + second.forwards,
        backwards=first.backwards + second.backwards,
        seconds=first.seconds + second.seconds,
    )


def agreement(metas: Sequence[CellMeta]) -> Agreement | None:
    """How far two runs agree, over all blocks."""
    known = [meta.agreement for meta in metas if meta.agreement is not None]
    if not known:
        return None
    return Agreement(**{key: sum(one[key] for one in known) for key in known[0]})


def curve(correct: NDArray[np.bool_], nearest: NDArray[np.float64]) -> tuple[CurvePoint, ...]:
    """Accuracy against epsilon: (N,) clean verdicts and distances of the nearest examples.

    At most 200 points: 0 and the steps of the curve or, where there are more, a selection of them.
    """
    distances = np.unique(np.append(nearest[correct & np.isfinite(nearest)], 0.0))
    if len(distances) > _CURVE_POINTS:
        chosen = np.linspace(0, len(distances) - 1, _CURVE_POINTS).round().astype(int)
        distances = distances[chosen]
    return tuple(
        CurvePoint(float(epsilon), float((correct & (nearest > epsilon)).mean()))
        for epsilon in distances
    )
