"""What a masking verdict is drawn from: counts of images, symptoms, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from auditor.maths.intervals import clopper_pearson, detectable
from auditor.protocols.check import Symptom
from auditor.results import ChallengeCount, PlantedControl, Power, Reference

#: Fewer correctly classified images than this say nothing either way.
LEAST_IMAGES = 50
#: With fewer survivors there is nothing to mask.
_SURVIVORS = 0.02
#: Levels of the two-sided intervals whose lower ends count: what is proven, what is likely.
_PROOF, _LIKELY = 0.99, 0.80


@dataclass(frozen=True)
class Gap:
    """How many images only the others broke, and what is certain of their share."""

    reference: Reference
    found: int
    total: int

    @property
    def fraction(self) -> float:
        """Of the images looked at."""
        return self.found / self.total if self.total else 0.0

    @property
    def lower(self) -> float:
        """What is proven."""
        return clopper_pearson(self.found, self.total, _PROOF)[0]

    @property
    def likely(self) -> float:
        """What is likely."""
        return clopper_pearson(self.found, self.total, _LIKELY)[0]


@dataclass(frozen=True)
class FoundBy:
    """The attack that found most of the hidden examples, in words, and how many it found."""

    words: str
    count: int


@dataclass(frozen=True)
class Facts:
    """What is known of one model, at the largest epsilon of the first threat.

    Counts are of the images that the model classifies correctly and the checks looked at, unless
    they say otherwise.
    """

    #: All audited images, and those of them that are classified correctly.
    total: int
    correct: int
    classes: int
    #: What the checks looked at.
    images: int
    #: Broken by attacks that follow the cross-entropy's gradient, any gradient of the model, or
    #: whatever; each holds the one before it.
    by_cross_entropy: int
    by_gradient: int
    by_any: int
    #: By the audit's own attacks of many fixed steps on the cross-entropy, such as PGD; None where
    #: there was none, or under another norm than l-infinity, where such attacks are weak anyway.
    by_plain: int | None
    #: Broken by attacks that do not trust the gradient, whatever else broke them.
    by_others: int
    #: Broken by any attack, and by each of the two gradient references, of all audited images.
    all_by_any: int
    all_by_gradient: int
    all_by_cross_entropy: int
    all_by_plain: int
    symptoms: tuple[Symptom, ...]
    #: Codes of the findings, in the order of the symptoms.
    codes: tuple[str, ...]
    #: For each reference that has hidden examples.
    found_by: Mapping[Reference, FoundBy]
    #: Survivors that were attacked on the model itself without trust in its gradient, each once.
    challenges: tuple[ChallengeCount, ...]
    control: PlantedControl | None
    #: That checks of the profile which could matter were left out, in a sentence; else empty.
    shortened: str
    #: Why something else is missing, one sentence each.
    missing: tuple[str, ...]

    @property
    def survivors(self) -> int:
        """Images looked at that nothing broke."""
        return self.images - self.by_any

    @property
    def withstood(self) -> int:
        """Images that no attack which follows the model's gradient broke, those hidden included.

        What has to be shown is measured by these: were it by the survivors, a hidden example found
        would make the verdict milder, for it leaves one survivor less.
        """
        return self.images - self.by_gradient

    @property
    def masking_pays(self) -> bool:
        """Whether enough withstood for a hidden gradient to matter."""
        return self.withstood > _SURVIVORS * self.images

    @property
    def challenged(self) -> int:
        """Survivors that were attacked without trust in the gradient."""
        return sum(one.images for one in self.challenges)

    @cached_property
    def detectable(self) -> int:
        """So many hidden examples among the survivors would have been seen."""
        return self._detectable_among(self.survivors)

    @property
    def blind(self) -> bool:
        """Whether hidden examples on all that withstood the gradient could have been missed."""
        return self._detectable_among(self.withstood) >= self.withstood

    def _detectable_among(self, images: int) -> int:
        hidden = self.control.hidden if self.control else 0
        counts = [(one.images, one.control_found) for one in self.challenges]
        return detectable(images, counts, hidden)

    @property
    def detectable_fraction(self) -> float:
        """The same, of the images looked at."""
        return self.detectable / self.images

    @property
    def power(self) -> Power | None:
        """What finding nothing is worth, with the counts that this follows from."""
        if not self.images:
            return None
        hidden = self.control.hidden if self.control else 0
        found = sum(one.images * one.control_found for one in self.challenges)
        tried = hidden * self.challenged
        return Power(
            samples=self.images,
            detectable_fraction=self.detectable_fraction,
            survivors=self.survivors,
            challenged=self.challenged,
            sensitivity=found / tried if tried else None,
            challenges=self.challenges,
            control_hidden=hidden,
        )

    @property
    def gaps(self) -> tuple[Gap, Gap, Gap]:
        """To any gradient of the model, to the cross-entropy's, and to plain PGD."""
        missed = 0 if self.by_plain is None else self.by_any - self.by_plain
        return (
            Gap("gradient", self.by_any - self.by_gradient, self.images),
            Gap("cross-entropy", self.by_any - self.by_cross_entropy, self.images),
            Gap("plain", missed, self.images),
        )
