"""The batteries that run when audit.toml names no attacks."""

from __future__ import annotations

from typing import Any

from auditor.api import Profile, hookimpl

#: Checks, in an order in which each can build on those before it; the last ones look back.
_LOOKS = ["determinism", "batch-dependence", "train-mode", "output-kind", "operation-trace",
          "staircase", "zero-gradients", "rank-test", "finite-differences"]  # fmt: skip
_CHALLENGES = ["loss-repair", "unbounded", "expectation-gap", "bpda-gap", "eot-gap",
               "noise-averaged-gap", "transfer-gap", "black-box-gap"]  # fmt: skip
_LAST = ["planted-mask", "second-look", "loss-directions"]
_QUICK = [*_LOOKS, *_CHALLENGES, *_LAST]
_STANDARD = [*_LOOKS, "noise-gradient", "second-order", "half-precision", *_CHALLENGES,
             "one-step", "epsilon-monotone", "convergence", "binarization", *_LAST]  # fmt: skip

_SCREEN: list[dict[str, Any]] = [{"use": "fgsm"}, {"use": "r-fgsm"}, {"use": "noise"}]


@hookimpl
def auditor_profiles() -> list[Profile]:
    """Quick, standard and thorough; each does at least what the one before it does.

    In all of them the cascade is what the robust accuracy rests on. The attacks before it are the
    field's yardsticks, and where they fall far behind it, a first hint at a hidden gradient.
    """
    screen = [*_SCREEN, {"use": "pgd", "steps": 40}]
    quick = [*screen, {"use": "cascade", "sample": 20}]
    standard = [
        *screen,
        {"use": "cascade"},
        {"use": "pgd", "label": "pgd-margin", "steps": 40, "loss": "margin"},
    ]
    thorough = [
        *standard,
        {"use": "pgd", "label": "pgd-100", "steps": 100, "restarts": 5},
        {"use": "autoattack"},
    ]
    some, all_ = ([{"use": name} for name in names] for names in (_QUICK, _STANDARD))
    return [
        Profile("quick", 5, quick, some),
        Profile("standard", 5, standard, all_),
        Profile("thorough", 5, thorough, all_),
    ]
