"""Attacks and threats made of thin air: plausible in shape, measured by nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from auditor.results import (
    Accuracy,
    Agreement,
    AttackResult,
    CurvePoint,
    LossSummary,
    SampleEvidence,
    SampleRound,
    SentOn,
    StageSummary,
    ThreatResult,
)


def accuracy(correct: int, total: int = 500) -> Accuracy:
    """An accuracy with a rough interval; its exactness is not the report's business."""
    share = correct / total
    half = 1.96 * (max(share * (1 - share), 0.002) / total) ** 0.5
    return Accuracy(correct, total, share, (max(0.0, share - half), min(1.0, share + half)))


def attack(label: str, broken: int, seed: int, restarts: int = 5, **fields: object) -> AttackResult:
    """An attack that ran."""
    rng = np.random.default_rng(seed)
    losses = tuple(
        LossSummary(r, 500 - 40 * min(r, 9), tuple(sorted(rng.normal(r / 4, 1.5, 5).tolist())))
        for r in range(restarts)
    )
    plain = AttackResult(
        name=label.split("-")[0],
        label=label,
        parameters={"steps": 100, "step_size": None, "restarts": restarts, "loss": "margin"},
        status="done",
        reason="",
        robust=accuracy(460 - broken),
        robust_8bit=accuracy(464 - broken),
        broken=broken,
        forwards=1_234_567 + seed,
        backwards=1_200_000 + seed,
        seconds=12.5 * (1 + seed % 7),
        surrogate="naive",
        objective="margin",
        losses=losses,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def not_run(label: str, status: str, reason: str) -> AttackResult:
    """An attack that was skipped or failed."""
    return attack(
        label, 0, 0, 0, status=status, reason=reason, robust=None, robust_8bit=None,
        forwards=0, backwards=0, seconds=0.0,
    )  # fmt: skip


def threat(
    epsilon: str, broken: int, labels: Sequence[str], norm: str = "linf", rationale: str = "why"
) -> ThreatResult:
    """A threat under which each attack breaks a little less than the one before."""
    top, _, bottom = epsilon.partition("/")
    attacks = [attack(label, broken - 9 * i, i) for i, label in enumerate(labels)]
    return ThreatResult(
        norm=norm,
        epsilon=float(top) / float(bottom or 1),
        epsilon_text=epsilon,
        rationale=rationale,
        attacks=tuple(attacks),
        robust=accuracy(452 - broken),
        robust_8bit=accuracy(455 - broken),
    )


def composite(
    label: str, stages: Sequence[tuple[str, str, int, int]], attacked: int = 460, **fields: object
) -> AttackResult:
    """An attack in stages (name, objective, how many fell, passes each), each on the survivors."""
    left, made = attacked, []
    for i, (name, objective, broken, passes) in enumerate(stages):
        made.append(
            StageSummary(name, objective, "naive", left, broken, left * passes,
                         left * (passes - 1), 0.002 * left * passes * (1 + i % 2))
        )  # fmt: skip
        left -= broken
    plain = attack(
        label, attacked - left, 1, 0,
        parameters={"second_run": False}, objective="", stages=tuple(made),
        forwards=sum(s.forwards for s in made), backwards=sum(s.backwards for s in made),
        seconds=sum(s.seconds for s in made),
    )  # fmt: skip
    return replace(plain, **fields)  # type: ignore[arg-type]


def autoattack(broken: int, **fields: object) -> AttackResult:
    """Four stages, most of what falls falls at the first; run twice."""
    stages = (
        ("APGD-CE", "cross-entropy", broken - 13, 101),
        ("APGD-T", "dlr", 12, 905),
        ("FAB-T", "margin", 1, 1010),
        ("Square", "margin", 0, 5001),
    )
    agreement = Agreement(458, 460, 2, 0)
    note = "9 targets are asked for and there are 2 wrong classes"
    return composite(
        "autoattack", stages, **{"agreement": agreement, "reason": note, **fields}
    )  # fmt: skip


def sampled(survivors: int) -> SampleEvidence:
    """Of the first sample one image fell, and of the second none."""
    first = SampleRound(survivors + 4, 60, {"FAB-T": 1}, (SentOn("FAB-T", survivors - 56, 3),))
    second = SampleRound(survivors, 60, {})
    return SampleEvidence(survivors, 60, 0, 0.95, 8 / survivors, 8, (first, second))


def cascade(broken: int, **fields: object) -> AttackResult:
    """Its own stages, and two samples of what they left."""
    stages = (
        ("sweep", "margin", broken - 17, 11),
        ("second sweep", "probability-margin", 4, 21),
        ("aimed", "dlr", 9, 62),
        ("sample: APGD-T", "dlr", 0, 905),
        ("sample: FAB-T", "margin", 1, 1010),
        ("FAB-T, sent on", "margin", 3, 1010),
    )
    return composite("cascade", stages, **{"evidence": sampled(170), **fields})


def fab(broken: int, epsilon: float, **fields: object) -> AttackResult:
    """An attack that knows a distance for every image: half of them fall within `epsilon`."""
    points = 60
    curve = tuple(
        CurvePoint(3 * epsilon * i / points, max(0, 0.92 - broken / 500 * (3 * i / points) ** 0.5))
        for i in range(points + 1)
    )
    return attack("fab", broken, 3, 2, curve=curve, **fields)
