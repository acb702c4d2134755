"""Masking verdicts of every kind, made of thin air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from auditor.results import (
    AttemptSummary,
    ChallengeCount,
    CheckResult,
    Comparison,
    DirectionCurve,
    GalleryItem,
    Hidden,
    Masking,
    PlantedControl,
    Power,
    SelftestRecord,
    SelftestRow,
)

EPSILON = 8 / 255
CULPRIT = "torch.round at defense.py:42, module front.quantise"
SENTENCE = (
    "26 of 49 images that resisted the model's gradient fall to the same attack once "
    f"{CULPRIT} is bypassed."
)
BLAMELESS = "Every module follows eval()."
SPARED = "No earlier check found anything, so that this one was spared."
CHALLENGES = (
    ChallengeCount("queries", 2000, 60, 14),
    ChallengeCount("repaired", 21, 30, 8),
)
NOTHING_FOUND = "None of 415 images fell only to attacks that distrust the gradient."


def attempt(name: str, broken: int, images: int = 40, **fields: object) -> AttemptSummary:
    """An attack of a check on the model's own gradient."""
    plain = AttemptSummary(name, "naive", "gradient", EPSILON, images, broken)
    return replace(plain, **fields)  # type: ignore[arg-type]


def check(name: str, sentence: str, *attempts: AttemptSummary, **fields: object) -> CheckResult:
    """A check that found nothing amiss."""
    plain = CheckResult(name, name, {}, "done", sentence, False, 2468, 1357, 1.5, attempts)
    return replace(plain, **fields)  # type: ignore[arg-type]


def checks() -> tuple[CheckResult, ...]:
    """One in every state, as a battery leaves them."""
    unused = {"status": "not applicable", "forwards": 0, "backwards": 0, "seconds": 0.0}
    return (
        check("train-mode", BLAMELESS),
        check(
            "bpda-gap",
            f"Once {CULPRIT} is bypassed, the same attack breaks 26 of 49 images.",
            attempt("repaired", 26, 49, surrogate="naive, repaired", trust="nothing"),
            attempt("twice as far", 49, 49, epsilon=2 * EPSILON),
            flagged=True,
        ),
        check("eot-gap", "The model's answers do not vary, so there is nothing to average.",
              **unused),
        check("binarization", SPARED, **unused),
        check("noise-averaged-gap", SPARED, **unused),
        check("transfer-gap", "RuntimeError: shapes differ", status="error"),
        check("second-look", "The time budget of 30 minutes was spent.", **unused
              | {"status": "skipped"}),
    )  # fmt: skip


def directions(images: Sequence[int] = (17, 34, 51)) -> tuple[DirectionCurve, ...]:
    """A gradient that is flat, and random directions that climb."""
    distances = tuple(2 * EPSILON * i / 19 for i in range(20))
    curves = []
    for n, image in enumerate(images):
        flat = tuple(-4.0 - n for _ in distances)
        climb = tuple(-4.0 - n + 6 * i / 19 for i in range(20))
        curves += [
            DirectionCurve(image, "gradient", distances, flat),
            DirectionCurve(image, "random", distances, climb),
        ]
    return tuple(curves)


def confirmed(kind: str = "shattered", pictures: Sequence[GalleryItem] = ()) -> Masking:
    """A proof, in the words of the engine."""
    loss = kind == "loss-level"
    return Masking(
        verdict="confirmed",
        summary="26 of 49 images that resisted the gradient of the cross-entropy fall to the "
        "attack pgd-margin."
        if loss
        else SENTENCE,
        kind=kind,  # type: ignore[arg-type]
        culprit=None if loss else CULPRIT,
        gradient_attack_accuracy=0.784,
        corrected_accuracy=0.392,
        hidden=Hidden(196, 460, 196 / 460, 0.38),
        power=Power(460, 0.0065),
        evidence=("bpda-gap",),
        reference="cross-entropy" if loss else "gradient",
        reasons=(
            "196 of 460 images withstood every attack that follows the model's gradient and fell "
            "to another; at least 38.0% for certain.",
        ),
        next_steps=(
            "Report the corrected robust accuracy, not the one of the gradient attacks.",
            "Attack with a margin loss: the loss, not the network, hides the gradient."
            if loss
            else "Attack through a differentiable stand-in for the rounding (BPDA).",
        ),
        norm="linf",
        epsilon_text="8/255",
        comparison=Comparison(20, 48, 196, 196),
        control=PlantedControl(True, "Of 19 blinded images the repaired gradient broke 16."),
        directions=directions(),
        examples=tuple(pictures),
    )


def suspected() -> Masking:
    """Symptoms without a proof."""
    return replace(
        confirmed("vanishing"),
        verdict="suspected",
        summary="Attacks without a bound leave images standing.",
        culprit=None,
        corrected_accuracy=0.784,
        hidden=Hidden(0, 460, 0.0, 0.0),
        comparison=Comparison(20, 48, 0, 392),
        reasons=("Attacks without a bound leave images standing.", "Gradients are zero."),
    )


def possible() -> Masking:
    """A sign that stands alone."""
    return replace(
        suspected(), verdict="possible", summary="The gradient is rough.", reasons=(), kind=None
    )


def nothing() -> Masking:
    """What an honest model gets."""
    return replace(
        possible(),
        verdict="none",
        summary=f"{NOTHING_FOUND} A share above 16.6% would have been seen with 95 % confidence.",
        reasons=(NOTHING_FOUND,),
        next_steps=(),
        evidence=(),
        gradient_attack_accuracy=0.392,
        corrected_accuracy=0.392,
        hidden=Hidden(0, 415, 0.0, 0.0),
        power=Power(415, 69 / 415, 344, 90, 0.6, CHALLENGES, 20),
        comparison=Comparison(20, 51, 0, 344),
    )


def undecided() -> Masking:
    """Too little to go by."""
    return Masking(
        verdict="inconclusive",
        summary="Only 12 correctly classified images were looked at; the verdict needs 50.",
        next_steps=("Audit more images: at least 50 classified correctly.",),
        control=PlantedControl(False, "Of 19 blinded images none was broken."),
        norm="linf",
        epsilon_text="8/255",
    )


def selftest() -> SelftestRecord:
    """A record with one of each outcome."""
    blamed = ("suspected", "confirmed")
    return SelftestRecord(
        "0.0", "2026-01-01T00:00:00Z", 25, 1, 0,
        (SelftestRow("rounding", blamed, "confirmed"),
         SelftestRow("jpeg", blamed, "possible"),
         SelftestRow("adversarially trained", ("none", "possible"), "none")),
    )  # fmt: skip
