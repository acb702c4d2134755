"""The batteries that run when audit.toml names no attacks."""

from __future__ import annotations

from typing import Any

from auditor.api import Profile, hookimpl

_SCREEN: list[dict[str, Any]] = [{"use": "fgsm"}, {"use": "r-fgsm"}, {"use": "noise"}]


@hookimpl
def auditor_profiles() -> list[Profile]:
    """Quick, standard and thorough; each contains the one before it."""
    quick = [*_SCREEN, {"use": "pgd", "steps": 40}]
    standard = [
        *quick,
        {"use": "pgd", "label": "pgd-margin", "steps": 40, "loss": "margin"},
    ]
    thorough = [
        *standard,
        {"use": "pgd", "label": "pgd-100", "steps": 100, "restarts": 5},
        {"use": "pgd", "label": "pgd-100-margin", "steps": 100, "restarts": 5, "loss": "margin"},
        {"use": "pgd", "label": "pgd-100-dlr", "steps": 100, "restarts": 5, "loss": "dlr"},
    ]
    return [
        Profile("quick", 1, quick),
        Profile("standard", 1, standard),
        Profile("thorough", 1, thorough),
    ]
