"""More evidence of masking, or less to rest a "none" on, never makes verdict or status milder."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from core_results import model_result
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.gates import MASKING_ORDER, judge
from auditor.masking.verdict import Facts, judge_masking
from auditor.protocols.check import Family, Symptom
from auditor.results import ChallengeCount, ControlTrial, Masking, PlantedControl
from auditor.schema.tables import GateConfig

TODAY = datetime.date(2026, 12, 1)
#: From mild to serious, and the same for exit statuses.
VERDICTS = ("none", "possible", "inconclusive", "suspected", "confirmed")
STATUSES = (0, 3, 1)
CRASHED = "The check loss-repair crashed."

SYMPTOMS = st.builds(
    Symptom,
    family=st.sampled_from(get_args(Family)),
    title=st.just("Odd"),
    remedy=st.just("mend it"),
    strong=st.booleans(),
    kind=st.sampled_from(["shattered", "loss-level", None]),
    culprit=st.sampled_from(["round at m.py:3", None]),
)


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """Any counts that fit together; what differs by a few images is as likely as what does not."""
    images = draw(st.integers(1, 120) | st.integers(1, 1000))
    few = st.integers(0, 4) | st.integers(0, images)
    by_any = images - min(images, draw(few))
    by_gradient = by_any - min(by_any, draw(few))
    by_cross_entropy = by_gradient - min(by_gradient, draw(few))
    by_plain = draw(st.none() | st.integers(0, by_cross_entropy))
    trials, challenges, left = [], [], images - by_any
    hidden = draw(st.integers(0, 30))
    for points in draw(st.lists(st.sampled_from([2000, 200]), unique=True)):
        found, count = draw(st.integers(0, hidden)), draw(st.integers(0, left))
        trials.append(ControlTrial("queries", points, found))
        challenges.append(ChallengeCount("queries", points, count, found))
        left -= count
    control = PlantedControl(draw(st.booleans()), "as planted", hidden, tuple(trials))
    control = draw(st.sampled_from([control, None]))
    correct = draw(st.integers(images, images + 50))
    symptoms = tuple(draw(st.lists(SYMPTOMS, max_size=3)))
    return Facts(
        total=draw(st.integers(correct, 4 * correct)), correct=correct, classes=10, images=images,
        by_cross_entropy=by_cross_entropy, by_gradient=by_gradient, by_any=by_any,
        by_plain=by_plain, by_others=by_any - by_gradient, all_by_any=by_any,
        all_by_gradient=by_gradient, all_by_cross_entropy=by_cross_entropy,
        all_by_plain=by_plain or 0, symptoms=symptoms, codes=("x",) * len(symptoms), found_by={},
        challenges=tuple(challenges) if control else (), control=control,
        shortened=draw(st.sampled_from(["", "7 of 26 checks."])),
        missing=draw(st.sampled_from([(), (CRASHED,)])),
    )  # fmt: skip


def one_more_symptom(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, symptoms=(*before.symptoms, draw(SYMPTOMS)), codes=(*before.codes, "y"))


def a_stronger_symptom(before: Facts, draw: st.DrawFn) -> Facts:
    place = draw(st.integers(0, 2))
    stronger = tuple(
        replace(one, strong=True, culprit="round at m.py:3") if i == place else one
        for i, one in enumerate(before.symptoms)
    )
    return replace(before, symptoms=stronger)


def missed_by_the_gradient(before: Facts, draw: st.DrawFn) -> Facts:
    """What the gradient had broken, others alone broke."""
    by_gradient = draw(st.integers(0, before.by_gradient))
    return replace(
        before,
        by_gradient=by_gradient,
        by_cross_entropy=min(by_gradient, before.by_cross_entropy),
        by_plain=None if before.by_plain is None else min(by_gradient, before.by_plain),
    )


def missed_by_the_cross_entropy(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, by_cross_entropy=draw(st.integers(0, before.by_cross_entropy)))


def missed_by_pgd(before: Facts, draw: st.DrawFn) -> Facts:
    by_plain = before.by_plain and draw(st.integers(0, before.by_plain))
    return replace(before, by_plain=by_plain)


def a_survivor_falls_to_others(before: Facts, draw: st.DrawFn) -> Facts:
    """Perhaps one that was challenged, which it no longer is as a survivor."""
    if not before.survivors:
        return before
    lists = [before.challenges] + [
        tuple(replace(one, images=one.images - (i == j)) for i, one in enumerate(before.challenges))
        for j, fell in enumerate(before.challenges) if fell.images
    ]  # fmt: skip
    return replace(
        before,
        by_any=before.by_any + 1,
        by_others=before.by_others + 1,
        challenges=draw(st.sampled_from(lists)),
    )


def a_check_crashes(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, missing=(*before.missing, CRASHED))


def checks_are_left_out(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, shortened="7 of 26 checks.")


def no_mask_is_planted(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, control=None, challenges=())


def the_planted_mask_is_missed(before: Facts, draw: st.DrawFn) -> Facts:
    return replace(before, control=before.control and replace(before.control, detected=False))


def fewer_are_challenged(before: Facts, draw: st.DrawFn) -> Facts:
    fewer = (replace(one, images=draw(st.integers(0, one.images))) for one in before.challenges)
    return replace(before, challenges=tuple(fewer))


WORSE = (
    one_more_symptom, a_stronger_symptom, missed_by_the_gradient, missed_by_the_cross_entropy,
    missed_by_pgd, a_survivor_falls_to_others, a_check_crashes, checks_are_left_out,
    no_mask_is_planted, the_planted_mask_is_missed, fewer_are_challenged,
)  # fmt: skip


def status(masking: Masking, limit: str) -> int:
    model = replace(model_result(), masking=masking)
    return judge([model], [GateConfig(metric="masking", at_most=limit)], [], TODAY).exit_status


@pytest.mark.parametrize("worse", WORSE)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), before=facts())
def test_more_evidence_is_never_milder(
    worse: Callable[[Facts, st.DrawFn], Facts], before: Facts, data: st.DataObject
) -> None:
    one, other = judge_masking(before), judge_masking(worse(before, data.draw))
    assert VERDICTS.index(other.verdict) >= VERDICTS.index(one.verdict)
    for limit in MASKING_ORDER:
        mild, serious = status(one, limit), status(other, limit)
        assert STATUSES.index(serious) >= STATUSES.index(mild), limit


def test_the_gate_sees_through_inconclusive() -> None:
    """Signs break a gate that allows none, whatever is missing; what is missing may break more."""
    signs = Masking("inconclusive", "why", shown="possible", lacking=(CRASHED,))
    assert [status(signs, limit) for limit in MASKING_ORDER] == [1, 3, 3, 0]
    suspected = Masking("suspected", "why", shown="suspected", lacking=(CRASHED,))
    assert [status(suspected, limit) for limit in MASKING_ORDER] == [1, 1, 3, 0]
    gate = GateConfig(metric="masking", at_most="suspected")
    model = replace(model_result(), masking=suspected)
    reasons = judge([model], [gate], [], TODAY).reasons
    assert reasons == (
        "Gate on masking cannot be judged for m: at most suspected is asked for, and the verdict "
        "is suspected, and it could be worse: The check loss-repair crashed.",
    )
