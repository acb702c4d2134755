"""A second look at what seems hidden: would a longer gradient attack have found it as well?"""

from __future__ import annotations

from dataclasses import dataclass

from auditor.api import CheckReport, PositiveInt, Probe, Trust, check, not_applicable, param

from .costs import spent, summed
from .survivors import bounds, followed, look_again, split

#: If in the first sample certainly fewer than this share fall, the others are left as they are.
_FUTILE = 0.25
_MISSED_BY: dict[Trust, str] = {
    "cross-entropy": "that attacks on the cross-entropy had missed",
    "gradient": "that only attacks which distrust the gradient had broken",
}


@check(
    name="second-look",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 4.2 (attacks have to converge)",
    doubts="no model",
)
@dataclass(frozen=True)
class SecondLook:
    """Attacks what seems hidden once more, with long attacks that trust the gradient.

    What these break was missed because an attack was short, and is no sign of masking. Runs last.
    """

    sample: PositiveInt = param(40, "images after which it stops if hardly any of them fell")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        trusts: tuple[Trust, ...] = ("cross-entropy", "gradient")
        return summed(*(spent(attack, images, classes) for t in trusts for attack in followed(t)))

    def run(self, probe: Probe) -> CheckReport:
        """The cross-entropy first, for what it breaks, the gradient breaks."""
        if not probe.has_gradient:
            return not_applicable("No gradient reaches the pixels, so none can be followed longer.")
        trusts: tuple[Trust, ...] = ("cross-entropy", "gradient")
        told = [sentence for trust in trusts if (sentence := self._look(probe, trust))]
        if not told:
            return not_applicable("Whatever fell, fell to attacks that follow the gradient too.")
        return CheckReport(" ".join(told))

    def _look(self, probe: Probe, trust: Trust) -> str:
        """What long attacks that trust so much do to the images that such attacks had missed."""
        missed = (probe.fallen() & ~probe.fallen(trust)).nonzero().flatten()
        if not len(missed):
            return ""
        first, rest = split(missed, self.sample)
        broken = len(look_again(probe, first, trust, f"longer, {trust}"))
        tried = len(first)
        if len(rest) and bounds(broken, tried)[1] >= _FUTILE:
            broken += len(look_again(probe, rest, trust, f"longer, {trust}, the rest"))
            tried = len(missed)
        among = f"{tried} of {len(missed)}" if tried < len(missed) else f"{tried}"
        again = "the cross-entropy" if trust == "cross-entropy" else "the margin"
        left = len(missed) - broken
        return (
            f"Of {among} image{'s' if len(missed) > 1 else ''} {_MISSED_BY[trust]}, longer "
            f"attacks on {again} broke {broken}; "
            f"{left} {'is' if left == 1 else 'are'} left."
        )
