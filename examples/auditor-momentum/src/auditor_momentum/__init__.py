"""The momentum iterative attack, and a check that uses it."""

from __future__ import annotations

from auditor.api import hookimpl

from .attack import MomentumIterative
from .check import MomentumGap


@hookimpl
def auditor_attacks() -> list[type]:
    """MI-FGSM."""
    return [MomentumIterative]


@hookimpl
def auditor_checks() -> list[type]:
    """What it breaks besides."""
    return [MomentumGap]
