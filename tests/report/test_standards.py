"""The appendix on standards and the glossary say what is in the result, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import synthetic_audits
from synthetic_attacks import attack, threat

from auditor.language import speaking
from auditor.report import ReportSource
from auditor.report.glossary import glossary
from auditor.report.standards import Point, Technique, reviewer, standards
from auditor.results import AttemptSummary, AuditResult, CheckResult, SelftestRecord


def audit(*attacks: object, checks: tuple[CheckResult, ...] = ()) -> AuditResult:
    one = threat("8/255", 280, ("pgd",))
    model = synthetic_audits.model("net", [replace(one, attacks=attacks or one.attacks)])
    return synthetic_audits.audit([replace(model, checks=checks)])


def check(name: str, sentence: str, *attempts: AttemptSummary) -> CheckResult:
    return CheckResult(name, name, {}, "done", sentence, False, 1, 0, 0.1, attempts)


def kinds(result: AuditResult) -> dict[str, Technique]:
    return {one.atlas.partition(" ")[0]: one for one in standards(result).techniques}


def points(result: AuditResult, name: str) -> list[Point]:
    found = (point for document in standards(result).documents for point in document.points)
    return [point for point in found if point.name == name]


def test_an_attack_is_of_the_kind_that_it_declares() -> None:
    result = audit(
        replace(attack("pgd", 9, 1), needs="gradient", backwards=0),
        replace(attack("square", 9, 1), needs="scores", backwards=0),
        replace(attack("own", 9, 1), needs="scores", backwards=12),
        replace(attack("old", 9, 1), needs="", backwards=0),
        replace(attack("broken", 9, 1), needs="gradient", status="error"),
    )
    seen = kinds(result)
    assert seen["AML.T0043.000"].attacks == "pgd, own"
    assert seen["AML.T0043.001"].attacks == "square, old"
    assert seen["AML.T0015"].state == "tested"
    assert seen["AML.T0041"].state == "open"


def test_what_was_not_tested_says_why() -> None:
    said = "There is no other model to carry examples over from."
    seen = kinds(audit(checks=(check("transfer-gap", said),)))
    assert (seen["AML.T0043.002"].state, seen["AML.T0043.002"].attacks) == ("open", said)
    attempt = AttemptSummary("transfer from a", "a", "nothing", 0.1, 9, 1)
    seen = kinds(audit(checks=(check("transfer-gap", said, attempt),)))
    assert (seen["AML.T0043.002"].state, seen["AML.T0043.002"].attacks) == (
        "tested",
        "transfer-gap",
    )
    (point,) = points(audit(), "2.1.3")
    assert point.shown == "No attack and no check of this kind was asked for."


@pytest.mark.parametrize(
    ("reviewers", "state", "words"),
    [
        ((), "partly", "Nobody is named who signs"),
        (("A. Name",), "partly", "One person is named for a signature, 0 with a role"),
        (
            ("A. Name, model risk", "B. Name"),
            "partly",
            "2 people are named for a signature, 1",
        ),
        (("A. Name, model risk", "B. Name, security"), "supports", "2 people are named"),
    ],
)
def test_a_report_is_dated_and_signed(reviewers: tuple[str, ...], state: str, words: str) -> None:
    (point,) = points(replace(audit(), reviewers=reviewers), "Annex IV, 2(g)")
    assert point.state == state
    assert words in point.shown
    assert "2 January 2026" in point.shown


def test_a_name_may_have_a_role() -> None:
    assert reviewer("A. Name, head of model risk, EMEA") == ("A. Name", "head of model risk, EMEA")
    assert reviewer("A. Name") == ("A. Name", "")
    assert reviewer("") == ("", "")


def test_the_tests_own_effectiveness_is_what_was_planted_and_found() -> None:
    (point,) = points(audit(), "MEASURE 2.13")
    assert point.state == "open"
    record = SelftestRecord("0.1.0", "2026-01-02T03:04:05Z", 9, 1, 0)
    (point,) = points(replace(audit(), selftest=record), "MEASURE 2.13")
    assert point.state == "supports"
    assert "found 9 of 10 masked reference models and raised 0 false alarms" in point.shown


@pytest.mark.parametrize("name", ["small", "large", "masks", "empty"])
def test_no_word_claims_compliance(name: str, source: Callable[[str], ReportSource]) -> None:
    made = standards(source(name).result)
    texts = [point.shown for document in made.documents for point in document.points]
    texts += [one.attacks for one in made.techniques]
    assert not [
        text for text in texts if re.search(r"compl(y|ies|iant)|conform|certif.*meets", text)
    ]


def test_the_glossary_has_what_occurs() -> None:
    page = "<style>pgd</style><p class='fgsm'>PGD-40 on the cross-entropy; Surrogates</p>"
    assert [name for name, _ in glossary(page)] == ["Cross-entropy", "PGD", "Surrogate"]
    assert list(glossary("<p>nothing upgraded, no sawmargin</p>")) == []
    with speaking("zh"):
        names = [name for name, _ in glossary("<p>在代理模型上的梯度掩蔽</p>")]
    assert sorted(names) == ["代理模型", "梯度掩蔽"]
