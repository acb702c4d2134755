"""Attacks in stages, attacks run twice and attacks that know distances: what is said of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfReader
from synthetic_attacks import autoattack, cascade, composite, fab, threat
from synthetic_audits import audit, model
from test_report_page import Page

from auditor.report import ReportSource, html, sentences, wording
from auditor.report.stage_tables import StageTable, stage_tables
from auditor.report.step_curves import step_curves
from auditor.results import (
    Agreement,
    AttackResult,
    CurvePoint,
    ModelResult,
    SampleEvidence,
    SampleRound,
    SentOn,
    from_json,
    to_json,
)

NEW_KEYS = ("stages", "evidence", "agreement", "curve")


def plain(text: str) -> str:
    return text.replace(wording.NBSP, " ")


def faced(*attacks: AttackResult) -> ModelResult:
    """A model that faced one attack at 2/255, 4/255 and so on."""
    threats = [
        replace(threat(f"{2**i}/255", 100, ()), attacks=(one,)) for i, one in enumerate(attacks, 1)
    ]
    return model("m", threats)


def under(*attacks: AttackResult) -> StageTable:
    """The table of one attack that was run at 2/255, 4/255 and so on."""
    (table,) = stage_tables(faced(*attacks))
    return table


def rows(markup: str) -> list[list[str]]:
    """The cells of every row of the first table of stages."""
    table = re.findall(r'<table class="stages.*?</table>', markup, re.S)[0]
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in table.split("<tr")[1:]]
    return [[plain(re.sub("<.*?>", "", cell)) for cell in row] for row in cells]


def test_the_table_says_where_the_images_fell(source: Callable[[str], ReportSource]) -> None:
    large = source("large")
    shown = rows(large.page)
    found = [{a.label: a for a in t.attacks}["autoattack"] for t in large.result.models[0].threats]
    assert shown[0] == ["Stage, objective", "ε = 2/255", "ε = 4/255", "ε = 8/255"]
    for i, line in enumerate(shown[2:-1]):
        assert line[0] == f"{found[0].stages[i].name} {found[0].stages[i].objective}"
        for attack, first in zip(found, (1, 5, 9), strict=True):
            stage = attack.stages[i]
            each = (stage.forwards + stage.backwards) / stage.images
            share = 100 * stage.seconds / attack.seconds
            expected = [f"{stage.images}", f"{stage.broken}", f"{each:,.0f}", f"{share:.0f} %"]
            assert line[first : first + 4] == expected
    assert shown[-1][:3] == ["All stages", "460", str(found[0].broken)]


def test_every_composite_has_a_table_and_the_caption_comes_once_a_model(
    source: Callable[[str], ReportSource],
) -> None:
    text = Page(source("large").page).text
    for label in ("autoattack", "cascade"):
        assert text.count(f"Where the images fell: {label}, L∞") == 4
    assert text.count("A composite attack runs its stages one after another") == 4
    assert text.count("these are the figures of its first run") == 4


def test_of_many_epsilons_the_ends_and_the_middle_are_shown(
    source: Callable[[str], ReportSource],
) -> None:
    many = source("many").page
    assert rows(many)[0][1:] == ["ε = 1/255", "ε = 4/255", "ε = 32/255"]
    assert "4 further values of ε are in audit.json." in many


def test_a_stage_that_was_not_reached_has_dashes() -> None:
    soon = composite("cascade", [("sweep", "margin", 460, 11)])
    later = composite("cascade", [("sweep", "margin", 400, 11), ("aimed", "dlr", 3, 20)])
    sweep, aimed, together = rows(html.render(audit([faced(soon, later)]), b""))[2:]
    assert sweep[0] == "sweep margin"
    assert aimed == ["aimed dlr", "–", "–", "–", "–", "60", "3", "39", aimed[-1]]
    assert together[:4] == ["All stages", "460", "460", "21"]
    assert together[4] == together[8] == ""


def test_a_stage_that_only_some_epsilons_reached_keeps_its_place() -> None:
    first = composite("c", [(name, "margin", 1, 9) for name in ("sweep", "probe", "rounds")])
    second = composite("c", [(name, "margin", 1, 9) for name in ("sweep", "queries", "rounds")])
    names = [row.name for row in under(first, second).rows]
    assert names == ["sweep", "queries", "probe", "rounds"]


@pytest.mark.parametrize(
    ("surrogate", "text"),
    [
        ("naive", "margin"),
        ("naive in bfloat16", "margin in bfloat16"),
        ("naive, averaged over 20 draws", "margin, averaged over 20 draws"),
        ("repaired", "margin, on repaired"),
    ],
)
def test_another_surrogate_is_named(surrogate: str, text: str) -> None:
    one = composite("c", [("sweep", "margin", 1, 11)])
    other = replace(one, stages=(replace(one.stages[0], surrogate=surrogate),))
    assert under(other).rows[0].objective == text


def test_shares_and_ratios_of_nothing_are_dashes() -> None:
    assert wording.ratio(3, 0) == wording.share(1.0, 0.0) == "–"
    assert [wording.ratio(n, 4) for n in (0, 3, 38, 39, 40, 5000)] == [
        "0", "0.8", "9.5", "9.8", "10", "1,250",
    ]  # fmt: skip
    assert [plain(wording.share(n, 1000)) for n in (0, 4, 6, 1000)] == [
        "0 %", "< 1 %", "1 %", "100 %",
    ]  # fmt: skip


HELD = SampleRound(340, 60, {})
SHARES = "with 95% confidence it would break at most"


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (SampleEvidence(340, 60, 0, 0.95, 15 / 340, 15, (HELD,)),
         "60 of 340 survivors, drawn at random, were attacked with the full battery; none fell: "
         f"{SHARES} 4.4% of them (3.0 points)."),
        (SampleEvidence(296, 60, 0, 0.95, 18 / 296, 18, (
            SampleRound(340, 60, {"FAB-T": 2}, (SentOn("FAB-T", 280, 41),)),
            SampleRound(297, 60, {"Square": 1}, (SentOn("Square", 237, 0),)),
            SampleRound(296, 60, {}))),
         "Of sample 1, 60 of 340, FAB-T broke 2 and was run on the other 280 survivors, of which "
         "41 fell. Of sample 2, 60 of 297, Square broke 1 and was run on the other 237 survivors, "
         "of which 0 fell. 60 of 296 survivors, drawn at random, were attacked with the full "
         "battery; none fell: "
         f"{SHARES} 6.1% of them (3.6 points)."),
        (SampleEvidence(37, 37, 0, 0.95, 0.0, 0, (SampleRound(40, 40, {"APGD-T": 3}),)),
         "All 37 survivors were attacked with the full battery, and withstood it."),
        (SampleEvidence(340, 60, 0, 0.95, 15 / 340, 15, (HELD,), larger=41),
         "60 of 340 survivors, drawn at random, were attacked with the full battery (41 of them "
         f"at a larger ε); none fell: {SHARES} 4.4% of them (3.0 points)."),
        (SampleEvidence(1, 1, 0, 0.95, 0.0, 0, (SampleRound(1, 1, {}),)),
         "The one survivor was attacked with the full battery, and withstood it."),
        (SampleEvidence(0, 0, 0, 0.95, 0.0, 0, (SampleRound(0, 0, {}),)), "Nothing survived."),
    ],
)  # fmt: skip
def test_what_a_sample_of_the_survivors_showed(seen: SampleEvidence, text: str) -> None:
    assert plain(sentences.sample(seen, 500)) == text


def test_runs_that_agree_and_runs_that_do_not() -> None:
    assert sentences.agreement(Agreement(460, 460, 0, 0)) == (
        "Two independent runs agree on 460 of 460 images: "
        "chance has no visible part in this number."
    )
    assert sentences.agreement(Agreement(498, 500, 1, 1)).startswith(
        "Two independent runs agree on 498 of 500 images; the first alone broke 1, the second "
        "alone broke 1. Where they differ, chance decided"
    )


def test_notes_stand_below_the_attack_they_are_about(source: Callable[[str], ReportSource]) -> None:
    page = plain(source("large").page)
    page = page[page.index('<h2 id="details">') :]
    start = page.index('<th scope="row"><bdi>autoattack</bdi>')
    body = page[start : page.index("</tbody>", start)]
    assert "naive, 4 stages" in body
    assert "9 targets are asked for and there are 2 wrong classes." in body
    assert "Two independent runs agree on 458 of 460 images; the first alone broke 2" in body
    start = page.index('<th scope="row"><bdi>cascade</bdi>')
    body = page[start : page.index("</tbody>", start)]
    assert "Of sample 1, 60 of 174, FAB-T broke 1 and was run on the other 114 survivors" in body


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("targeted DLR needs 4 classes", "Targeted DLR needs 4 classes."),
        ("9 targets are asked for", "9 targets are asked for."),
        ("Done.", "Done."),
    ],
)
def test_remarks_become_sentences(text: str, sentence: str) -> None:
    assert wording.sentence(text) == sentence


def test_nothing_is_said_of_an_attack_that_failed_or_had_no_image() -> None:
    failed = replace(cascade(20), status="error", reason="broke", robust=None, stages=())
    alone = replace(autoattack(20), agreement=Agreement(0, 0, 0, 0), stages=())
    bare = replace(threat("8/255", 100, ()), attacks=(failed, alone))
    result = audit([model("m", [bare])])
    text = Page(html.render(result, b"")).text
    assert "closest to falling" not in text
    assert "independent runs" not in text
    assert "Where the images fell" not in text


def test_step_curves_end_a_little_beyond_the_largest_epsilon() -> None:
    small, large = (
        replace(threat(text, 100, ()), attacks=(fab(100, value / 255),))
        for text, value in (("4/255", 4), ("8/255", 8))
    )
    (curve,) = step_curves([small, large], {"fab": "black"})
    assert curve.epsilons[-1] == pytest.approx(1.08 * 8 / 255)
    assert curve.epsilons == tuple(sorted(curve.epsilons))
    points = large.attacks[0].curve
    assert curve.accuracies[:-1] == tuple(p.accuracy for p in points)[: len(curve.epsilons) - 1]
    assert curve.accuracies[-1] == curve.accuracies[-2]
    assert points[len(curve.epsilons) - 1].epsilon > curve.epsilons[-1]


def test_only_the_lowest_step_curves_of_attacks_that_are_drawn_are_shown() -> None:
    levels = {"a": 0.5, "b": 0.2, "c": 0.4, "hidden": 0.1}
    attacks = tuple(
        replace(fab(100, 0.1), label=name, curve=(CurvePoint(0.0, level),))
        for name, level in levels.items()
    )
    curves = step_curves(
        [replace(threat("0.1", 100, ()), attacks=attacks)], dict.fromkeys("abc", "")
    )
    assert [curve.attack for curve in curves] == ["b", "c"]


@pytest.mark.parametrize("name", ["small", "large"])
def test_the_chart_has_the_step_curve_and_says_what_it_means(
    name: str, source: Callable[[str], ReportSource]
) -> None:
    page = Page(source(name).page)
    named = [svg for svg in page.charts() if "fab, from its distances" in svg]
    assert len(named) == len(source(name).result.models)
    assert "the smallest perturbation of each image that fab found" in page.text


def test_an_audit_from_before_is_reported_as_it_was(source: Callable[[str], ReportSource]) -> None:
    old = json.loads(source("small").raw)
    for one in old["models"]:
        for threat_ in one["threats"]:
            for attack in threat_["attacks"]:
                for key in NEW_KEYS:
                    del attack[key]
    result = from_json(json.dumps(old))
    text = Page(html.render(result, to_json(result).encode())).text
    assert "cascade" in text
    for words in ("Where the images fell", "drawn at random", "Thin steps"):
        assert words not in text


@pytest.mark.slow
def test_the_pdf_says_it_too(reported: Callable[[str], Path]) -> None:
    pages = PdfReader(reported("large") / "report.pdf").pages
    text = plain(" ".join(page.extract_text() for page in pages))
    squeezed = " ".join(text.split())
    assert squeezed.count("Where the images fell: cascade") == 4
    assert "second sweep probability-margin 292 4 41 1 %" in squeezed
    assert "survivors, drawn at random, were attacked with the full battery; none fell" in squeezed
