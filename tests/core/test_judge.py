"""Gates, the verdict, and what comes before what."""

from __future__ import annotations

import datetime
import itertools

import pytest
from core_results import model_result, threat_result

from auditor.errors import ExitStatus
from auditor.gates import judge
from auditor.maths.intervals import accuracy
from auditor.schema.tables import GateConfig

TODAY = datetime.date(2026, 12, 1)


def on(metric, **rest):
    return GateConfig(metric=metric, **rest)


MODEL = model_result(
    "a",
    clean=accuracy(90, 100),
    threats=(
        threat_result("linf", 0.01, accuracy(60, 100), accuracy(20, 100)),
        threat_result("linf", 0.03, accuracy(30, 100)),
        threat_result("l2", 0.5, accuracy(50, 100)),
    ),
    masking="possible",
)
OTHER = model_result("b", clean=accuracy(70, 100), threats=(threat_result("linf", 0.01, None),))
HOLDS = on("clean_accuracy", at_least=0.5)
BREAKS = on("clean_accuracy", at_least=0.99)
OPEN = on("certified_accuracy", at_least=0.1, norm="l2")


@pytest.mark.parametrize("gates", [[], [on("masking", at_most="possible")]])
def test_where_no_accuracy_is_asked_for_nothing_passes(gates):
    verdict = judge([MODEL], gates, [], TODAY)
    assert (verdict.verdict, verdict.exit_status) == ("no-requirement", ExitStatus.OK)
    assert "no requirement was set" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("gates", "incomplete"),
    list(
        itertools.product(
            [(), (HOLDS,), (HOLDS, OPEN), (OPEN, BREAKS, HOLDS), (BREAKS,), (OPEN,)],
            [(), ("out of time",)],
        )
    ),
)
def test_a_broken_gate_comes_before_missing_work_and_that_before_gates_that_hold(gates, incomplete):
    verdict = judge([MODEL], gates, incomplete, TODAY)
    if BREAKS in gates:
        assert (verdict.verdict, verdict.exit_status) == ("fail", 1)
        assert "is broken" in verdict.reasons[0]
    elif OPEN in gates or incomplete:
        assert (verdict.verdict, verdict.exit_status) == ("inconclusive", 3)
        assert set(incomplete) <= set(verdict.reasons)
    else:
        passed = "pass" if gates else "no-requirement"
        assert (verdict.verdict, verdict.exit_status) == (passed, 0)
    assert verdict.reasons
    assert all(verdict.reasons)


@pytest.mark.parametrize(
    ("gate", "holds"),
    [
        (on("clean_accuracy", at_least=0.9), True),
        (on("clean_accuracy", at_least=0.9000001), False),
        (on("clean_accuracy", at_most=0.9), True),
        (on("clean_accuracy", at_most=0.8999999), False),
        (on("robust_accuracy", at_least=0.5, norm="l2"), True),
        (on("robust_accuracy", at_least=0.51, norm="l2"), False),
        (on("certified_accuracy", at_least=0.2, norm="linf", epsilon=0.01), True),
        (on("certified_accuracy", at_least=0.3, norm="linf", epsilon=0.01), False),
        (on("certified_accuracy", at_least=0.0, norm="l2"), None),
    ],
)
def test_limits_belong_to_what_is_allowed(gate, holds):
    (result,) = judge([MODEL], [gate], [], TODAY).gates
    assert result.holds is holds
    assert result.metric == gate.metric
    assert result.reason.count(MODEL.name)


ORDER = ["none", "possible", "suspected", "confirmed"]


@pytest.mark.parametrize(("verdict", "limit"), list(itertools.product(ORDER, ORDER)))
def test_masking_is_ordered_from_none_to_confirmed(verdict, limit):
    (result,) = judge(
        [model_result(masking=verdict)], [on("masking", at_most=limit)], [], TODAY
    ).gates
    assert result.holds is (ORDER.index(verdict) <= ORDER.index(limit))
    assert result.value == verdict


@pytest.mark.parametrize(
    ("limit", "holds"), [("none", None), ("suspected", None), ("confirmed", True)]
)
def test_inconclusive_masking_cannot_be_judged_unless_everything_is_allowed(limit, holds):
    verdict = judge(
        [model_result(masking="inconclusive")], [on("masking", at_most=limit)], [], TODAY
    )
    assert verdict.gates[0].holds is holds
    assert verdict.verdict == ("no-requirement" if holds else "inconclusive")
    assert verdict.gates[0].reason.endswith(
        f"the verdict is inconclusive. {model_result(masking='inconclusive').masking.summary}"
    )


def test_a_gate_without_filters_is_applied_to_every_model_norm_and_epsilon():
    results = judge([MODEL, OTHER], [on("robust_accuracy", at_least=0.4)], [], TODAY).gates
    assert [(r.model, r.norm, r.epsilon, r.holds) for r in results] == [
        ("a", "linf", 0.01, True),
        ("a", "linf", 0.03, False),
        ("a", "l2", 0.5, True),
        ("b", "linf", 0.01, None),
    ]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"model": "b"}, [("b", 0.01)]),
        ({"norm": "linf"}, [("a", 0.01), ("a", 0.03), ("b", 0.01)]),
        ({"epsilon": 0.01}, [("a", 0.01), ("b", 0.01)]),
        ({"model": "a", "norm": "linf", "epsilon": 0.03}, [("a", 0.03)]),
    ],
)
def test_filters_choose_what_a_gate_is_applied_to(filters, expected):
    results = judge(
        [MODEL, OTHER], [on("robust_accuracy", at_least=0.4, **filters)], [], TODAY
    ).gates
    assert [(result.model, result.epsilon) for result in results] == expected


def test_clean_accuracy_and_masking_are_judged_once_per_model():
    gates = [on("clean_accuracy", at_least=0.8), on("masking", at_most="none")]
    results = judge([MODEL, OTHER], gates, [], TODAY).gates
    assert [(r.metric, r.model, r.holds) for r in results] == [
        ("clean_accuracy", "a", True),
        ("clean_accuracy", "b", False),
        ("masking", "a", False),
        ("masking", "b", True),
    ]


@pytest.mark.parametrize(
    "gate",
    [on("robust_accuracy", at_least=0.1, norm="l1"), on("masking", at_most="none", model="c")],
)
def test_a_gate_that_nothing_was_measured_for_does_not_hold(gate):
    """A model or threat that dropped out of the audit takes its gate's number with it."""
    assert judge([MODEL], [gate], [], TODAY).verdict == "inconclusive"


def test_reasons_name_limit_and_value():
    verdict = judge(
        [MODEL], [on("robust_accuracy", at_least=0.4, norm="linf", epsilon=0.03)], [], TODAY
    )
    (reason,) = verdict.reasons
    assert reason == (
        "Gate on robust_accuracy is broken for a at linf 8/255: at least 40.0 % is asked for, and "
        "it is 30.0 % (30 of 100)."
    )


def test_reasons_tell_a_limit_from_a_value_beside_it():
    near = model_result("a", clean=accuracy(3999, 10000))
    (reason,) = judge([near], [on("clean_accuracy", at_least=0.4)], [], TODAY).reasons
    assert "at least 40.0 % is asked for, and it is 39.99 % (3,999 of 10,000)." in reason


def waived(gate, until):
    return gate.model_copy(update={"until": until, "reason": "the camera is replaced in March."})


@pytest.mark.parametrize(("gate", "holds"), [(BREAKS, False), (HOLDS, True), (OPEN, None)])
@pytest.mark.parametrize("days", [0, 400])
def test_a_waived_gate_is_told_and_does_not_count(gate, holds, days):
    until = TODAY + datetime.timedelta(days=days)
    ruling = judge([MODEL], [waived(gate, until)], [], TODAY)
    assert (ruling.verdict, ruling.exit_status) == ("pass", 0)
    (result,) = ruling.gates
    assert (result.holds, result.waived, result.until) == (holds, True, until.isoformat())
    said = f"It is waived until {until}: the camera is replaced in March."
    assert result.reason.endswith(said)
    assert (result.reason in ruling.reasons) == (holds is not True)
    # Others count as ever.
    assert judge([MODEL], [waived(gate, until), BREAKS], [], TODAY).verdict == "fail"
    assert judge([MODEL], [waived(gate, until)], ["out of time"], TODAY).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("gate", "verdict"), [(BREAKS, "fail"), (HOLDS, "pass"), (OPEN, "inconclusive")]
)
def test_a_waiver_that_has_ended_is_told_and_the_gate_counts(gate, verdict):
    until = TODAY - datetime.timedelta(days=1)
    ruling = judge([MODEL], [waived(gate, until)], [], TODAY)
    assert (ruling.verdict, ruling.gates[0].waived) == (verdict, False)
    assert "Its waiver ended on 2026-11-30, so that it counts again" in "".join(ruling.reasons)
