"""Attacks of other libraries, each an extra: what they return is verified like any other claim."""

from auditor.api import hookimpl

from .advlib import DDN, FMN
from .autoattack import PyAutoAttack
from .foolbox import Boundary, HopSkipJump


@hookimpl
def auditor_attacks() -> list[type]:
    """The adapters of this package."""
    return [Boundary, DDN, FMN, HopSkipJump, PyAutoAttack]
