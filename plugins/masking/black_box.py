"""Attacks that never ask for a gradient, on the images that gradients left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from auditor_plugins.rays import RayS
from auditor_plugins.spsa import SPSA
from auditor_plugins.square import Square

from auditor.api import CheckReport, PositiveInt, Probe, Symptom, check, param

from .costs import judged, looked_again, spent, summed
from .survivors import (
    DRAWS,
    Gap,
    decides_only,
    explained,
    followed,
    is_telling,
    look_again,
    nothing_left,
    on_plateau,
    sample,
    unexplained,
)

#: SPSA is tried on so many survivors before all.
_FEW = 30


@check(
    name="black-box-gap",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 4.3; Andriushchenko et al. 2020, "
    "arXiv:1912.00049 (Square); Uesato et al. 2018, arXiv:1802.05666 (SPSA); Chen & Gu 2020, "
    "arXiv:2006.12792 (RayS)",
)
@dataclass(frozen=True)
class BlackBoxGap:
    """Searches the neighbourhood of survivors by queries alone.

    A few queries on a few survivors first. Thousands on all of them, Square and SPSA, where these
    broke images that a longer gradient attack does not, or where earlier checks found something
    that no attack explains yet; of a random model, on a few first.
    Where the model only tells its decision, or an image's scores are the same all around it, RayS
    takes the place of Square (in l-infinity).
    """

    screened: PositiveInt = param(30, "survivors that are tried first")
    screening_queries: PositiveInt = param(200, "queries for each of these")
    queries: PositiveInt = param(2000, "queries for each survivor, where there is reason to")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        few, few_first = min(self.screened, images), min(_FEW, images)
        compared = (spent(attack, min(5, images), classes) for attack in followed("gradient"))
        return summed(
            judged(3 * images, random=random),
            judged(4 * (few + few_first), random=random),
            spent(self._square(self.screening_queries, random=random), few, classes),
            spent(self._square(self.queries, random=random), images + few_first, classes),
            spent(_spsa(random=random), images + few_first, classes),
            *compared,
            looked_again("gradient", images, classes),
        )

    def run(self, probe: Probe) -> CheckReport:
        """Screen, decide, search."""
        if few := nothing_left(probe):
            return few
        survivors = probe.survivors()
        tried = sample(probe, survivors, self.screened)
        hard = decides_only(probe, tried)
        blind = self._blind(probe, tried, hard=hard)
        names, found = self._queried(probe, tried, blind, self.screening_queries, ", screening")
        reason = unexplained(probe) or ((hard or blind.any()) and not explained(probe))
        broken = [found]
        if reason or self._worth_it(probe, found):
            names = [*names, "SPSA"]
            found_later, tried_later = self._search(probe)
            broken += found_later
            tried = _union(tried, tried_later)
        rows = torch.cat(broken).sort().values
        telling = is_telling(probe, rows, "gradient", "queries")
        gap = Gap(len(survivors), len(tried), rows, telling)
        told = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        sentence = (
            f"{told}, which ask{'' if len(names) > 1 else 's'} for no gradient, broke {gap.text}."
        )
        return self._report(sentence, gap, hard=hard)

    @staticmethod
    def _worth_it(probe: Probe, found: torch.Tensor) -> bool:
        """Whether longer gradient attacks leave most of the few images that were found."""
        if not len(found):
            return False
        few = found[:5]
        return 2 * len(look_again(probe, few, "gradient", "compared with")) < len(few)

    @staticmethod
    def _blind(probe: Probe, rows: torch.Tensor, *, hard: bool) -> torch.Tensor:
        """(len(rows),) bool: the images whose scores show no way, so that decisions have to."""
        if probe.ball.norm.name != "linf":  # RayS knows no other
            return torch.zeros_like(rows, dtype=torch.bool)
        return torch.ones_like(rows, dtype=torch.bool) if hard else on_plateau(probe, rows)

    def _square(self, queries: int, *, random: bool) -> Square:
        """On a random model a query is several draws, and there are fewer of them."""
        draws = DRAWS if random else 1
        return Square(queries=max(self.screening_queries, queries // draws), eot=draws)

    def _queried(
        self, probe: Probe, rows: torch.Tensor, blind: torch.Tensor, queries: int, what: str
    ) -> tuple[list[str], torch.Tensor]:
        """The names of the attacks by queries, and the rows that these break."""
        attacks: dict[str, tuple[Any, torch.Tensor]] = {
            "Square": (self._square(queries, random=probe.random), rows[~blind]),
            "RayS": (RayS(queries=queries), rows[blind]),
        }
        names, broken = [], [rows[:0]]
        for name, (attack, chosen) in attacks.items():
            if len(chosen):
                names.append(name)
                broken.append(chosen[probe.attack(name + what, attack, chosen).broken])
        return names, torch.cat(broken)

    def _search(self, probe: Probe) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Rows that the long attacks break, one tensor per attempt; and those they were tried on.

        SPSA on a few first, and of a random model, which takes longer, also the attack before it.
        """
        portions = [(", on a few", _FEW)] if probe.random else []
        broken, tried = [], probe.survivors()[:0]
        for what, most in [*portions, ("", len(probe.y))]:
            rows = sample(probe, probe.survivors(), most)
            if not len(rows):
                break
            hard = decides_only(probe, rows[:_FEW])
            blind = self._blind(probe, rows, hard=hard)
            broken.append(self._queried(probe, rows, blind, self.queries, what)[1])
            tried = _union(tried, rows)
            if not len(broken[-1]):
                break
        last = [("SPSA, screening", _FEW), ("SPSA", len(probe.y))]
        more, also = _in_turn(probe, _spsa(random=probe.random), last)
        return broken + more, _union(tried, also)

    @staticmethod
    def _report(sentence: str, gap: Gap, *, hard: bool) -> CheckReport:
        if not gap.telling:
            return CheckReport(sentence)
        symptom = Symptom(
            family="comparison",
            title="Attacks without any gradient break images that gradient attacks do not",
            remedy="do not trust the gradient: report what black-box attacks break, and find what "
            "stops the gradient",
            evidence=(sentence,),
            kind="output-level" if hard else None,
        )
        return CheckReport(sentence, (symptom,))


def _spsa(*, random: bool) -> SPSA:
    """With fewer directions for a random model, whose queries are several draws each."""
    return SPSA(samples=SPSA().samples // DRAWS, eot=DRAWS) if random else SPSA()


def _in_turn(
    probe: Probe, attack: Any, portions: list[tuple[str, int]]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Attack so many survivors, then more, while any falls: what fell, and what was tried."""
    broken, tried = [], [probe.survivors()[:0]]
    for title, most in portions:
        rows = sample(probe, probe.survivors(), most)
        if not len(rows):
            break
        attempt = probe.attack(title, attack, rows)
        tried.append(rows)
        broken.append(rows[attempt.broken])
        if not len(broken[-1]):
            break
    return broken, torch.cat(tried)


def _union(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Rows that are in one or the other, in order."""
    rows: torch.Tensor = torch.unique(torch.cat([first, second]))
    return rows
