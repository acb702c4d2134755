"""The masking verdict from counts and symptoms alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from auditor.checks import Family, Symptom
from auditor.results import PlantedControl
from auditor.verdict import LEAST_IMAGES, Facts, detectable, judge_masking

HONEST = Facts(
    total=500, correct=450, classes=10, images=450,
    by_cross_entropy=140, by_gradient=150, by_any=150, by_others=20,
    by_plain=138, all_by_any=150, all_by_gradient=150, all_by_cross_entropy=140, all_by_plain=138,
    symptoms=(), codes=(), found_by="", challenged=True,
    control=PlantedControl(True, "found"), missing=(),
)  # fmt: skip


def facts(hidden: int = 0, loss: int = 0, **changes: object) -> Facts:
    """HONEST, with images that only distrusting attacks, or only other losses, broke."""
    gradient = 150 - hidden
    cross_entropy = gradient - loss
    counts = {
        "by_gradient": gradient, "all_by_gradient": gradient,
        "by_cross_entropy": cross_entropy, "all_by_cross_entropy": cross_entropy,
    }  # fmt: skip
    return replace(HONEST, **{**counts, **changes})  # type: ignore[arg-type]


def symptom(family: Family, *, strong: bool = False, culprit: str | None = None) -> Symptom:
    return Symptom(
        family, f"The {family} is odd", "mend it", strong=strong, kind="shattered", culprit=culprit
    )


def test_an_honest_model_has_none_and_says_what_that_rules_out() -> None:
    masking = judge_masking(HONEST)
    assert masking.verdict == "none"
    assert masking.gradient_attack_accuracy == pytest.approx(300 / 500)
    assert masking.corrected_accuracy == pytest.approx(300 / 500)
    assert masking.power is not None
    assert masking.power.detectable_fraction == pytest.approx(1 - 0.05 ** (1 / 450))
    assert "0.7%" in masking.summary
    assert masking.kind is None
    assert masking.culprit is None


def test_hidden_examples_are_proof_and_correct_the_accuracy() -> None:
    found = symptom("comparison", culprit="torch.round at defense.py:42")
    masking = judge_masking(
        facts(hidden=120, symptoms=(found,), codes=("bpda-gap",),
              found_by="the same attack on the repaired model")
    )  # fmt: skip
    assert masking.verdict == "confirmed"
    assert masking.kind == "shattered"
    assert masking.culprit == "torch.round at defense.py:42"
    assert masking.evidence == ("bpda-gap",)
    assert masking.gradient_attack_accuracy == pytest.approx((450 - 30) / 500)
    assert masking.corrected_accuracy == pytest.approx((450 - 150) / 500)
    assert masking.hidden is not None
    assert (masking.hidden.found, masking.hidden.total) == (120, 450)
    assert masking.summary == (
        "120 of 420 images that resisted the model's gradient fall to the same attack once "
        "torch.round at defense.py:42 is bypassed."
    )


def test_a_gap_of_the_loss_alone_is_loss_level() -> None:
    masking = judge_masking(facts(loss=140))
    assert masking.verdict == "confirmed"
    assert masking.kind == "loss-level"
    assert masking.reference == "cross-entropy"
    assert masking.gradient_attack_accuracy == pytest.approx((450 - 10) / 500)
    assert masking.corrected_accuracy == pytest.approx((450 - 150) / 500)


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [(10, "none"), (34, "none"), (35, "possible"), (53, "possible"), (54, "suspected")],
)
def test_what_honest_models_lose_to_a_better_loss_is_no_masking(loss: int, verdict: str) -> None:
    assert judge_masking(facts(loss=loss)).verdict == verdict


@pytest.mark.parametrize(
    ("missed", "verdict"), [(53, "none"), (54, "suspected"), (149, "suspected")]
)
def test_what_leads_pgd_astray_is_suspected_even_if_others_broke_everything(
    missed: int, verdict: str
) -> None:
    masking = judge_masking(replace(HONEST, by_plain=150 - missed, all_by_plain=150 - missed))
    assert masking.verdict == verdict
    if verdict == "suspected":
        assert masking.reference == "plain"
        assert masking.gradient_attack_accuracy == pytest.approx((450 - 150 + missed) / 500)
        assert f"{missed} of {300 + missed} images that resisted PGD fall" in masking.summary


def test_without_pgd_there_is_no_such_reference() -> None:
    masking = judge_masking(replace(HONEST, by_plain=None, all_by_plain=0))
    assert (masking.verdict, masking.reference) == ("none", "gradient")


def test_the_fewer_the_images_the_larger_the_share_that_raises_a_suspicion() -> None:
    few = replace(HONEST, correct=52, images=52, total=100, by_any=30, by_gradient=30, by_plain=30)
    shares = {count: replace(few, by_cross_entropy=30 - count) for count in (7, 8, 9)}
    verdicts = {count: judge_masking(one).verdict for count, one in shares.items()}
    assert verdicts == {7: "possible", 8: "possible", 9: "suspected"}


@pytest.mark.parametrize(("hidden", "verdict"), [(1, "none"), (5, "possible"), (60, "confirmed")])
def test_a_few_hidden_examples_are_chance(hidden: int, verdict: str) -> None:
    assert judge_masking(facts(hidden=hidden)).verdict == verdict


@pytest.mark.parametrize(
    ("symptoms", "verdict"),
    [
        ([symptom("gradient")], "possible"),
        ([symptom("contract")], "possible"),
        ([symptom("gradient", strong=True)], "suspected"),
        ([symptom("unbounded", strong=True)], "suspected"),
        ([symptom("gradient"), symptom("unbounded")], "suspected"),
        ([symptom("gradient"), symptom("binarization")], "suspected"),
        ([symptom("gradient"), symptom("contract")], "possible"),
        ([symptom("contract", strong=True)], "possible"),
    ],
)
def test_symptoms_alone_raise_at_most_a_suspicion(symptoms: list[Symptom], verdict: str) -> None:
    assert judge_masking(facts(symptoms=tuple(symptoms), codes=("x",))).verdict == verdict


def test_symptoms_say_nothing_where_nothing_withstood() -> None:
    odd = (symptom("gradient", strong=True), symptom("unbounded", strong=True))
    masking = judge_masking(
        replace(
            HONEST, symptoms=odd, by_any=450, by_gradient=450, by_cross_entropy=450, by_plain=450
        )
    )
    assert masking.verdict == "none"
    assert "could hide nothing" in masking.summary


def test_symptoms_and_a_small_gap_support_each_other() -> None:
    odd = {"symptoms": (symptom("gradient"),), "codes": ("x",)}
    assert judge_masking(facts(loss=34, **odd)).verdict == "possible"
    assert judge_masking(facts(loss=35, **odd)).verdict == "suspected"
    assert judge_masking(facts(hidden=10)).verdict == "possible"
    cut = {"symptoms": (symptom("contract", culprit="Tensor.detach at m.py:3"),), "codes": ("x",)}
    assert judge_masking(facts(**cut)).verdict == "possible"
    assert judge_masking(facts(hidden=10, **cut)).verdict == "suspected"
    everything = {"images": 150, "correct": 150}  # where nothing withstands, too
    assert judge_masking(facts(hidden=5, **odd, **everything)).verdict == "suspected"
    masking = judge_masking(facts(hidden=10, symptoms=(symptom("gradient"),), codes=("x",)))
    assert masking.verdict == "suspected"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": LEAST_IMAGES - 1, "by_any": 10, "by_gradient": 10}, "Only 49"),
        ({"correct": 90}, "guessing"),
        ({"challenged": False}, "distrusts"),
        ({"control": PlantedControl(False, "it was missed")}, "planted"),
        ({"missing": ("The check x crashed.",)}, "crashed"),
    ],
)
def test_what_cannot_be_judged_is_inconclusive(changes: dict[str, object], words: str) -> None:
    masking = judge_masking(replace(HONEST, **changes))  # type: ignore[arg-type]
    assert masking.verdict == "inconclusive"
    assert words in masking.summary


def test_a_missing_check_takes_nothing_from_proof() -> None:
    masking = judge_masking(facts(hidden=120, missing=("The check x crashed.",), challenged=False))
    assert masking.verdict == "confirmed"


def test_the_comparison_counts_every_image_once() -> None:
    masking = judge_masking(facts(hidden=40, by_others=70))
    comparison = masking.comparison
    assert comparison is not None
    assert (comparison.both, comparison.only_gradient) == (30, 80)
    assert (comparison.only_others, comparison.neither) == (40, 300)


def test_power_is_the_exact_bound() -> None:
    """(1 - p)^n = 0.05: the chance of seeing nothing among n images."""
    for images in (50, 500):
        assert (1 - detectable(images)) ** images == pytest.approx(0.05)
