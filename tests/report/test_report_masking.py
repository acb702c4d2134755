"""The masking pages: what they say for every verdict, and what they leave out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_masking as masks
from pypdf import PdfReader
from synthetic_attacks import threat
from synthetic_audits import audit, model, picture
from test_report_page import Page

from auditor.report import ReportSource, html, wording
from auditor.report.check_rows import check_rows
from auditor.report.masking_charts import directions
from auditor.report.masking_sentences import believed
from auditor.results import (
    AuditResult,
    CheckResult,
    Comparison,
    Hidden,
    Masking,
    MaskingVerdict,
    Power,
    from_json,
    to_json,
)

KINDS = ("shattered", "stochastic", "vanishing", "loss-level", "output-level", "other")
LABELS = ("fgsm", "pgd-100", "autoattack")


def plain(text: str) -> str:
    return " ".join(text.replace(wording.NBSP, " ").split())


def words(markup: str) -> str:
    """The text of a page, a space between one cell and the next."""
    return plain(Page(re.sub(r"(?=<(td|th|dt|dd|span|p|li)\b)", " ", markup)).text)


def audited(*maskings: Masking, checks: tuple[CheckResult, ...] = ()) -> AuditResult:
    """An audit with a model for each verdict, and without charts."""
    faced = [replace(threat("8/255", 0, ()), robust=None, robust_8bit=None)]
    made = [
        model(f"model {i}", faced, masking=replace(masking, directions=()), checks=checks)
        for i, masking in enumerate(maskings)
    ]
    return audit(made)


def text_of(result: AuditResult) -> str:
    return words(html.render(result, b"{}"))


def cover(text: str) -> str:
    return text[: text.index("Contents")]


@pytest.fixture(scope="module")
def whole(source: Callable[[str], ReportSource]) -> str:
    """The page on a masked and an honest model."""
    return words(source("masks").page)


def test_the_cover_leads_with_the_corrected_accuracy(whole: str) -> None:
    first = cover(whole)
    assert "39.2 % corrected robust accuracy" in first
    assert "quantised-4bit: gradient masking ▲ confirmed, shattered" in first
    assert "L∞, ε = 8/255; gradient attacks alone: 78.4 %" in first
    assert masks.SENTENCE in first
    assert "not that anybody meant to mislead" in first
    assert first.index("39.2 % corrected") < first.index("Clean accuracy")


def test_the_cover_says_what_none_is_worth(whole: str) -> None:
    assert (
        "trained: gradient masking ○ none found. None of 415 images fell only to attacks that "
        "distrust the gradient. A share above 16.6% would have been seen with 95 % confidence."
    ) in cover(whole)


def test_the_masking_page_has_every_part(whole: str) -> None:
    for expected in (
        masks.SENTENCE,
        "Shattered: the gradient is cut or destroyed",
        f"Lost at {masks.CULPRIT}.",
        "Gradient attacks alone 78.4 % what would be believed",
        "Corrected robust accuracy 39.2 %",
        "196 of 460 42.6 % of the images examined; at least 38.0 % for certain",
        "4 of 196, each verified on the model as deployed; missed by gradient attacks",
        "Along the gradient 0 of 3 images turn wrong",
        "White box against black box, image by image",
        "They did not ▲ 196 (43 %) 196 (43 %)",
        "Attack through a differentiable stand-in for the rounding (BPDA).",
        "at least 38.0% for certain.",
        "One was put before it on purpose: ● found.",
        "Findings behind it: bpda-gap.",
        "What this can rule out 90 of the 344 images that withstood were attacked on the model "
        "itself without trust in its gradient: 60 by 2,000 queries, which found 14 of the 20 "
        "examples that the planted mask hid; 30 by 21 steps of the repaired gradient, which found "
        "8 of the 20 examples that the planted mask hid. Hidden adversarial examples on more than "
        "16.6 % of the 415 images examined would have been seen with 95 % confidence, if they are "
        "as easy to find as those of the planted mask.",
    ):
        assert expected in whole


def test_the_models_stand_side_by_side(whole: str) -> None:
    table = whole[
        whole.index("Under L∞, ε = 8/255") : whole.index("Gates", len(cover(whole)) + 900)
    ]
    assert "Model Clean FGSM PGD AutoAttack Worst case Corrected Suspected masking" in table
    assert "quantised-4bit 92.0 % 40.8 % 42.6 % 44.4 % 39.2 % 39.2 % ▲ confirmed shattered" in table
    assert "trained 92.0 % 40.8 % 42.6 % 44.4 % 39.2 % 39.2 % ○ none found" in table


def test_the_checks_say_what_they_saw_and_cost(whole: str) -> None:
    for expected in (
        "2 of 7 checks looked at the model: 1 flagged something, 1 failed.",
        "bpda-gap ■ flagged Once",
        "repaired† (naive, repaired) 26 of 49; twice as far (ε = 0.06275) 49 of 49.",
        "train-mode ● clear",
        "transfer-gap ▲ failed RuntimeError",
        "○ not applicable: eot-gap (The model's answers do not vary, so there is nothing to "
        "average); binarization, noise-averaged-gap (No earlier check found anything, so that this "
        "one was spared).",
        "○ skipped: second-look (The time budget of 30 minutes was spent).",
        "3,825 1.5 s",
        "† marks attacks that distrust",
    ):
        assert expected in whole
    rows = ("transfer-gap ▲", "bpda-gap ■", "train-mode ●", "applicable: eot-gap (")
    assert [whole.index(row) for row in rows] == sorted(whole.index(row) for row in rows)


def test_the_chapter_names_all_checks_and_tells_of_those_that_saw_something(whole: str) -> None:
    chapter = whole[whole.rindex("Model quantised-4bit") : whole.rindex("Model trained")]
    for expected in (
        "▲ failed: transfer-gap: RuntimeError: shapes differ.",
        f"■ flagged: bpda-gap: Once {masks.CULPRIT} is bypassed, the same attack breaks 26 of 49",
        "● clear: train-mode.",
        "○ not applicable: eot-gap, binarization, noise-averaged-gap.",
        "○ skipped: second-look.",
    ):
        assert expected in chapter
    assert masks.BLAMELESS not in chapter
    assert "3,825" not in chapter


def test_the_self_test_stands_in_the_appendix(whole: str) -> None:
    assert "found 25 of 26 masked reference models and raised no false alarm" in whole
    assert "rounding suspected or confirmed ▲ confirmed ● as expected" in whole
    assert "jpeg suspected or confirmed ● possible ▲ wrong" in whole


def test_what_an_old_audit_lacks_is_left_out(source: Callable[[str], ReportSource]) -> None:
    text = words(source("large").page)
    for absent in (
        "each verified on", "Does the gradient lead", "White box against",
        "What to do next", "put before it on purpose", "Self-test", " Checks ", "† marks",
    ):  # fmt: skip
        assert absent not in text
    assert "26 of 49 53.1 % of the images examined" in text


def test_every_kind_is_explained() -> None:
    text = text_of(audited(*(masks.confirmed(kind) for kind in KINDS)))
    for kind in KINDS:
        assert f"confirmed, {kind}" in cover(text)
        assert f"{kind.capitalize()}: {wording.KIND_MEANING[kind]}" in text


def test_a_loss_is_blamed_instead_of_the_network() -> None:
    text = text_of(audited(masks.confirmed("loss-level")))
    assert "Loss-level: the loss, not the network, hides the gradient." in text
    assert "Attacks on the cross-entropy alone 78.4 %" in text
    assert "counts as broken by the model's own gradient" in text
    assert "attacks on the cross-entropy alone: 78.4 %" in cover(text)


def test_verdicts_without_a_proof() -> None:
    text = text_of(audited(masks.suspected(), masks.possible(), masks.undecided()))
    first = cover(text)
    assert "78.4 % robust accuracy, in doubt" in first
    assert "gradient masking ■ suspected, vanishing" in first
    assert "model 1: gradient masking ● possible. The gradient is rough." in first
    assert "corrected robust accuracy" not in first
    assert (
        "model 2: gradient masking ◊ inconclusive. Masking could neither be shown nor ruled out. "
        "Only 12 correctly classified images were looked at; the verdict needs 50."
    ) in first
    assert "Gradients are zero." in text
    assert "One was put before it on purpose: ▲ not found." in text
    assert "Audit more images" in text


def test_nothing_doubtful_needs_no_apology() -> None:
    text = text_of(audited(masks.nothing(), masks.possible(), masks.undecided()))
    assert "anybody meant to mislead" not in text


def test_where_every_image_fell_nothing_is_hidden() -> None:
    fell = replace(
        masks.nothing(), comparison=Comparison(100, 315, 0, 0), power=Power(415, 0.0, 0, 0)
    )
    text = text_of(audited(fell))
    assert "Every image examined fell, so that nothing was left for masking to hide." in text


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (
            Power(415, 344 / 415, 344, 0, None, (), 20),
            "Nothing: none of the 344 images that withstood was searched without the model's own",
        ),
        (
            Power(415, 344 / 415, 344, 0),
            "Nothing: none of the 344 images that withstood counts as attacked",
        ),
        (
            Power(415, 344 / 415, 344, 3, 0.4, (masks.CHALLENGES[1],), 20),
            "That rules out nothing: hidden examples on all of those that withstood could",
        ),
    ],
)
def test_what_rules_out_nothing_says_so(power: Power, words: str) -> None:
    text = text_of(audited(replace(masks.undecided(), power=power)))
    assert f"What this can rule out {words}" in text or words in text
    assert "would have been seen" not in text


def test_audits_of_earlier_versions_say_nothing_of_power() -> None:
    assert "What this can rule out" not in text_of(
        audited(replace(masks.nothing(), power=Power(415, 0.0072)))
    )


def test_no_check_that_names_the_culprit_is_clear() -> None:
    named = masks.check("operation-trace", f"The gradient passes through {masks.CULPRIT}.")
    made = model("m", [], masking=masks.confirmed(), checks=(named, *masks.checks()))
    rows = {row.check.label: row.badge.word for row in check_rows(made)}
    assert (rows["operation-trace"], rows["train-mode"]) == ("names it", "clear")
    honest = replace(made, masking=masks.nothing())
    assert check_rows(honest)[2].badge.word == "clear"


def test_none_despite_chance_finds_keeps_the_words_of_the_verdict() -> None:
    few = replace(
        masks.nothing(), hidden=Hidden(1, 415, 1 / 415, 0.0), summary="No more than chance."
    )
    assert believed(few) == "No more than chance."


def test_texts_from_outside_are_escaped() -> None:
    bad = '<script>alert(1)</script> & "x" ' + "long_name_" * 40
    masking = replace(
        masks.confirmed(), culprit=bad, summary=bad, reasons=(bad,), next_steps=(bad,),
        epsilon_text=bad, examples=(replace(picture(1), attack=bad),),
    )  # fmt: skip
    result = audited(masking, checks=(masks.check(bad, bad, masks.attempt(bad, 1)),))
    markup = html.render(result, b"{}")
    page = Page(markup)
    assert page.faults == []
    assert "<script" not in markup
    assert page.text.count("<script>alert(1)</script>") > 8


def test_thirty_checks_have_a_row_each() -> None:
    many = tuple(
        masks.check(f"check-{i}", f"It saw {i}.", *(masks.attempt(f"a{j}", j) for j in range(12)))
        for i in range(30)
    )
    faced = [threat("8/255", 1, LABELS)]
    rows = check_rows(model("m", faced, masking=masks.nothing(), checks=many))
    assert [row.check for row in rows] == list(many)
    assert rows[0].attempts.endswith("a7 7 of 40; 4 more in audit.json.")
    assert "† marks" not in text_of(audited(masks.nothing(), checks=many))


@pytest.mark.parametrize("images", [(), (5,), (1, 2, 3, 4, 5)])
def test_directions_of_any_number_of_images(images: tuple[int, ...]) -> None:
    masking = replace(masks.confirmed(), directions=masks.directions(images))
    chart = directions(model("m", [threat("8/255", 1, LABELS)], masking=masking))
    if not images:
        assert chart is None
        return
    assert chart is not None
    assert chart.caption.endswith("2 further images are in audit.json.") == (len(images) > 3)
    assert f"along a random direction 0 of {len(images)}" in chart.alt


def test_directions_stand_numbers_that_are_none() -> None:
    curve = masks.directions((1,))[0]
    odd = replace(curve, margins=(float("nan"), float("inf"), *curve.margins[2:]))
    flat = replace(curve, direction="random", distances=(0.0, 0.0), margins=(1.0, 1.0))
    short = replace(curve, distances=(0.0,), margins=(0.0,))
    for curves in ((odd,), (flat,), (odd, flat, short)):
        masking = replace(masks.confirmed(), directions=curves)
        assert directions(model("m", [], masking=masking)) is not None


@pytest.mark.parametrize("verdict", ["none", "possible", "suspected", "confirmed", "inconclusive"])
def test_a_bare_verdict_has_a_page(verdict: MaskingVerdict) -> None:
    text = text_of(audited(Masking(verdict, "")))
    assert text.count(wording.MASKING_MEANING[verdict]) == 2  # on the cover and in the chapter
    for absent in (
        "Clean images", "what would be believed", "each verified on", "What led to the verdict",
        "Does the gradient lead", "White box against", "put before it on purpose", "None",
    ):  # fmt: skip
        assert absent not in text


def test_the_self_test_comes_back_from_json() -> None:
    result = replace(audited(masks.nothing()), selftest=masks.selftest())
    assert from_json(to_json(result)) == result


@pytest.mark.slow
def test_a_model_s_verdict_stands_below_its_name(reported: Callable[[str], Path]) -> None:
    pages = PdfReader(reported("masks") / "report.pdf").pages
    texts = [plain(page.extract_text()) for page in pages]
    assert masks.SENTENCE in texts[0]
    (page,) = (t for t in texts if "Model quantised-4bit 421,642 parameters" in t)
    for part in (masks.SENTENCE, "Lost at", "Corrected robust accuracy"):
        assert part in page
