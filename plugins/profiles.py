"""The batteries that run when audit.toml names no attacks."""

from __future__ import annotations

from typing import Any

from auditor.api import Profile, hookimpl

_SCREEN: list[dict[str, Any]] = [{"use": "fgsm"}, {"use": "r-fgsm"}, {"use": "noise"}]


@hookimpl
def auditor_profiles() -> list[Profile]:
    """Quick, standard and thorough; each contains the one before it.

    In all of them the cascade is what the robust accuracy rests on. The attacks before it are the
    field's yardsticks, and where they fall far behind it, a first hint at a hidden gradient.
    """
    quick = [*_SCREEN, {"use": "pgd", "steps": 40}, {"use": "cascade"}]
    standard = [
        *quick,
        {"use": "pgd", "label": "pgd-margin", "steps": 40, "loss": "margin"},
    ]
    thorough = [
        *standard,
        {"use": "pgd", "label": "pgd-100", "steps": 100, "restarts": 5},
        {"use": "autoattack"},
    ]
    return [
        Profile("quick", 2, quick),
        Profile("standard", 2, standard),
        Profile("thorough", 2, thorough),
    ]
