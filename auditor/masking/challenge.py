"""What finding nothing rests on: who was challenged, and which checks were left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.config import AuditConfig
from auditor.registry import Registry
from auditor.results import ChallengeCount, PlantedControl


def challenges(
    queries: NDArray[np.int64],
    repaired: NDArray[np.int64],
    survivors: NDArray[np.bool_],
    control: PlantedControl | None,
) -> tuple[ChallengeCount, ...]:
    """How many survivors were challenged, and what the control's same attacks found.

    A survivor counts where an attack looked at as many points as one of the control's trials did;
    of a shorter one it is not known what it finds. It counts once: for the longest search that it
    was put through, else for the repaired gradient.

    Args:
        queries: (N,) points that the longest search by scores alone looked at.
        repaired: (N,) points of the longest ascent of the repaired gradient.
        survivors: (N,) images looked at that nothing broke.
    """
    if control is None or not control.hidden:
        return ()
    looked_at = {"queries": queries, "repaired": repaired}
    left, found = survivors.copy(), []
    for trial in sorted(control.trials, key=lambda one: (one.kind, -one.points)):
        rows = left & (looked_at[trial.kind] >= trial.points)
        left &= ~rows
        if rows.any():
            count = int(rows.sum())
            found.append(ChallengeCount(trial.kind, trial.points, count, trial.found))
    return tuple(found)


@dataclass(frozen=True)
class Shortage:
    """The checks of the profile beside those that the configuration asks for."""

    profile: str
    #: How many the profile has.
    whole: int
    #: Names of those left out.
    left_out: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Such as "Only 7 of 26 checks of the profile standard were run."."""
        asked = self.whole - len(self.left_out)
        return (
            f"Only {asked} of {self.whole} checks of the profile {self.profile} "
            f"{'was' if asked == 1 else 'were'} run."
        )


def shortage(config: AuditConfig, registry: Registry) -> Shortage | None:
    """What is missing of the profile's checks; None where nothing is."""
    profile = registry.profiles.get(config.profile)
    names = list(dict.fromkeys(entry["use"] for entry in profile.checks)) if profile else []
    asked = {check.use for check in config.checks}
    left_out = tuple(name for name in names if name not in asked)
    return Shortage(config.profile, len(names), left_out) if left_out else None


def shortened(config: AuditConfig, registry: Registry, *, random: bool) -> str:
    """That checks are missing which could have cast a doubt on a model, in a sentence; else "".

    Args:
        random: whether the model's answers vary.
    """
    missing = shortage(config, registry)
    if missing is None or not any(_matters(missing, registry, random)):
        return ""
    return missing.sentence


def _matters(missing: Shortage, registry: Registry, random: bool) -> Iterator[bool]:
    """Check by check, whether it could have."""
    for name in missing.left_out:
        spec = registry.checks.get(name)  # one that is disabled is not known
        doubts = spec.doubts if spec else "every model"
        yield doubts == "every model" or (doubts == "random models" and random)
