"""The masking verdict from counts and symptoms alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy.stats import beta

from auditor.masking.forecast import foretell
from auditor.masking.verdict import LEAST_IMAGES, Facts, FoundBy, judge_masking
from auditor.protocols.check import Family, Symptom
from auditor.results import ChallengeCount, ControlTrial, PlantedControl, Power

#: Queries found 16 of the 20 examples that the planted mask hid.
CONTROL = PlantedControl(True, "found", 20, (ControlTrial("queries", 200, 16),))


def challenged(images: int, found: int = 16) -> tuple[ChallengeCount, ...]:
    """By 200 queries each, which find so many of the control's examples."""
    return (ChallengeCount("queries", 200, images, found),) if images else ()


HONEST = Facts(
    total=500, correct=450, classes=10, images=450,
    by_cross_entropy=140, by_gradient=150, by_any=150, by_others=20,
    by_plain=138, all_by_any=150, all_by_gradient=150, all_by_cross_entropy=140, all_by_plain=138,
    symptoms=(), codes=(), found_by={}, challenges=challenged(60), control=CONTROL,
    shortened="", missing=(),
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
    # By hand: Square surely finds this share, and each hidden example is found with this chance.
    sensitivity = beta.ppf(0.025, 16, 20 - 16 + 1)
    chance = sensitivity * 60 / 300
    hidden = math.ceil(math.log(0.025) / math.log(1 - chance))
    assert (1 - chance) ** hidden <= 0.025 < (1 - chance) ** (hidden - 1)
    assert masking.power == Power(450, hidden / 450, 300, 60, 16 / 20, challenged(60), 20)
    assert masking.summary == (
        f"None of 450 images fell only to attacks that distrust the gradient. A share above "
        f"{hidden / 450:.1%} would have been seen with 95 % confidence."
    )
    assert masking.kind is None
    assert masking.culprit is None


def test_hidden_examples_are_proof_and_correct_the_accuracy() -> None:
    found = symptom("comparison", culprit="torch.round at defense.py:42")
    masking = judge_masking(
        facts(hidden=120, symptoms=(found,), codes=("bpda-gap",),
              found_by={"gradient": FoundBy("the same attack on the repaired model", 120)})
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
        ({"challenges": ()}, "None of the 300 images that withstood was"),
        ({"challenges": challenged(3)}, "3 of the 300 images that withstood were attacked"),
        ({"challenges": challenged(60, 0)}, "too little"),
        ({"control": PlantedControl(False, "it was missed")}, "planted"),
        ({"control": None}, "No mask was planted"),
        ({"missing": ("The check x crashed.",)}, "crashed"),
        ({"shortened": "7 of 26 checks were to be run."}, "7 of 26 checks"),
    ],
)
def test_what_cannot_be_judged_is_inconclusive(changes: dict[str, object], words: str) -> None:
    masking = judge_masking(replace(HONEST, **changes))  # type: ignore[arg-type]
    assert masking.verdict == "inconclusive"
    assert words in masking.summary


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("correct", [1, 39, 40, 49, 50, 51, 100, 200])
def test_what_is_foretold_is_what_the_verdict_says(correct: int, classes: int) -> None:
    fell = dict.fromkeys(vars(HONEST).keys() & {"by_any", "by_gradient", "by_cross_entropy"}, 0)
    masking = judge_masking(
        replace(HONEST, total=200, correct=correct, images=correct, classes=classes,
                challenges=challenged(correct), by_plain=0, by_others=0, **fell)
    )  # fmt: skip
    forecast = foretell(correct, 200, classes, images=10_000)
    assert (masking.verdict == "inconclusive") == (forecast is not None)
    if forecast is not None:
        assert ("50" in masking.reasons[0]) == ("needs 50" in forecast.what)


def test_a_missing_check_takes_nothing_from_proof() -> None:
    masking = judge_masking(facts(hidden=120, missing=("The check x crashed.",), challenges=()))
    assert masking.verdict == "confirmed"


def test_the_comparison_counts_every_image_once() -> None:
    masking = judge_masking(facts(hidden=40, by_others=70))
    comparison = masking.comparison
    assert comparison is not None
    assert (comparison.both, comparison.only_gradient) == (30, 80)
    assert (comparison.only_others, comparison.neither) == (40, 300)


LACKING = (
    {"challenges": ()},
    {"control": None},
    {"shortened": "7 of 26 checks were to be run."},
    {"missing": ("The check loss-repair crashed.",)},
)


@pytest.mark.parametrize("changes", LACKING)
def test_what_is_lacking_matters_only_where_images_are_left(changes: dict[str, object]) -> None:
    fallen = {"by_any": 450, "by_gradient": 450, "by_cross_entropy": 450, "by_plain": 450}
    masking = judge_masking(replace(HONEST, **fallen, **changes))  # type: ignore[arg-type]
    assert masking.verdict == "none"
    assert masking.power is not None
    assert (masking.power.survivors, masking.power.detectable_fraction) == (0, 0)


@pytest.mark.parametrize("changes", LACKING)
def test_signs_do_not_make_up_for_what_is_lacking(changes: dict[str, object]) -> None:
    signs = {"symptoms": (symptom("contract"),), "codes": ("x",)}
    masking = judge_masking(replace(HONEST, **signs, **changes))  # type: ignore[arg-type]
    assert masking.verdict == "inconclusive"
    assert "The contract is odd." in masking.reasons
    few = judge_masking(facts(hidden=5, **changes))
    assert few.verdict == "inconclusive"
    assert any("5 of 450 images withstood every attack" in reason for reason in few.reasons)


def test_what_an_audit_lacks_it_is_told_to_do() -> None:
    short = judge_masking(replace(HONEST, shortened="7 of 26 checks were to be run."))
    assert 'battery = "extend"' in short.next_steps[0]
    unhurt = {"by_any": 0, "by_gradient": 0, "by_cross_entropy": 0, "by_plain": 0, "by_others": 0}
    masking = judge_masking(replace(HONEST, **unhurt, control=None))  # type: ignore[arg-type]
    assert masking.verdict == "inconclusive"
    assert "nothing to hide" in masking.summary
    assert masking.next_steps == ("Audit a larger epsilon as well, at which images fall.",)


@pytest.mark.parametrize(
    ("hidden", "images", "verdict"), [(3, 100, "possible"), (2, 100, "none"), (5, 300, "possible")]
)
def test_published_mild_gaps_are_signs(hidden: int, images: int, verdict: str) -> None:
    """Masks that were published hid 1.4 to 3.2 % of the images from AutoAttack."""
    counts = {"by_gradient": 40 - hidden, "by_cross_entropy": 40 - hidden, "by_plain": None}
    masking = judge_masking(
        replace(HONEST, total=images, correct=images, images=images, by_any=40, **counts)
    )
    assert masking.verdict == verdict
    if verdict == "none":
        assert "2 of 100 images fell only to attacks that distrust the gradient" in masking.summary
        assert "A further share above" in masking.summary


def test_few_survivors_need_not_be_challenged_beyond_doubt() -> None:
    """Even if all of them were hidden, that were less than honest models lose to a better loss."""
    few = {"by_any": 446, "by_gradient": 446, "by_cross_entropy": 446, "by_plain": None}
    assert judge_masking(replace(HONEST, **few, challenges=challenged(4))).verdict == "none"
    some = {"by_any": 438, "by_gradient": 438, "by_cross_entropy": 438, "by_plain": None}
    masking = judge_masking(replace(HONEST, **some, challenges=challenged(1)))
    assert masking.verdict == "none"
    assert masking.power is not None
    assert masking.power.detectable_fraction == 12 / 450  # all that is left


TRUNCATION = Symptom(
    "comparison", "The cross-entropy fails", "bypass it", kind="vanishing", culprit="f at m.py:3"
)
SATURATED = Symptom("gradient", "The loss has no slope", "divide the logits", kind="loss-level")


def test_the_loss_is_not_blamed_for_an_operation() -> None:
    found = {"cross-entropy": FoundBy("the attack pgd-margin", 130)}
    masking = judge_masking(
        facts(loss=140, symptoms=(TRUNCATION, SATURATED), codes=("a", "b"), found_by=found)
    )
    assert (masking.verdict, masking.kind) == ("confirmed", "vanishing")
    assert masking.culprit == "f at m.py:3"
    assert masking.summary == (
        "140 of 440 images that resisted the gradient of the cross-entropy fall to other attacks, "
        "130 of them to the attack pgd-margin. It is lost at f at m.py:3."
    )
    assert masking.next_steps == (
        "Report the corrected robust accuracy, not the one of the gradient attacks.",
        "Bypass it",
    )


def test_an_operation_is_not_blamed_for_the_loss() -> None:
    """The trace names one, but the margin's gradient works, and repairing it did not help."""
    cut = symptom("contract", culprit="Tensor.detach at m.py:3")
    masking = judge_masking(facts(loss=140, symptoms=(cut, SATURATED), codes=("a", "b")))
    assert (masking.kind, masking.culprit) == ("loss-level", None)
    assert "not the network" in masking.next_steps[1]
    assert "Divide the logits" in masking.next_steps


def test_confirmed_begins_where_two_percent_are_certain() -> None:
    confirmed = set()
    for hidden in range(4, 30):
        masking = judge_masking(facts(hidden))
        found, total = masking.hidden.found, masking.hidden.total
        certain = beta.ppf(0.005, found, total - found + 1)
        assert (masking.verdict == "confirmed") == (certain > 0.02), hidden
        confirmed.add(masking.verdict == "confirmed")
    assert confirmed == {True, False}
