"""The table of the reference defenses, and of what is right to say of them."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.results import MaskingVerdict


@dataclass(frozen=True)
class Reference:
    """A network of which it is known whether it hides its gradient.

    Attributes:
        factory: the class in `defenses.py`.
        about: what it is, in a few words.
        masks: whether it hides its gradient.
        weights: which network stands behind it: trained as usual, or against attacks.
    """

    name: str
    factory: str
    about: str
    masks: bool = True
    weights: str = "baseline"
    outputs: str = "logits"

    @property
    def expected(self) -> tuple[MaskingVerdict, ...]:
        """The verdicts that are right for it."""
        return ("suspected", "confirmed") if self.masks else ("none", "possible")

    def missed(self, verdict: MaskingVerdict) -> bool:
        """Whether `verdict` overlooks a mask; "inconclusive" does."""
        return self.masks and verdict not in self.expected

    def blamed(self, verdict: MaskingVerdict) -> bool:
        """Whether `verdict` is a false alarm; "inconclusive" is none."""
        return not self.masks and verdict in ("suspected", "confirmed")


def _honest(name: str, factory: str, about: str, weights: str = "pgd-trained",
            outputs: str = "logits") -> Reference:  # fmt: skip
    return Reference(name, factory, about, False, weights, outputs)


REFERENCES = (
    Reference("rounded-pixels", "RoundedPixels", "pixels rounded to four grey levels"),
    Reference("zero-gradient", "ZeroGradient", "autograd function with gradient zero"),
    Reference("detached-input", "DetachedInput", "detached image, plus zero times the image"),
    Reference("numpy-round-trip", "NumpyRoundTrip", "image by way of NumPy"),
    Reference("zeroing-hook", "ZeroingHook", "hook that zeroes the gradient"),
    Reference("smooth-staircase", "SmoothStaircase", "grey levels by steep sigmoids"),
    Reference("random-ripple", "RandomRipple", "tiny random ripple with a large slope"),
    Reference("one-hot", "OneHot", "the predicted class alone"),
    Reference("scaled-logits", "ScaledLogits", "logits times 1000"),
    _honest("undefended", "Undefended", "usual training", weights="baseline"),
    _honest("pgd-trained", "Undefended", "adversarial training"),
    _honest("pgd-probabilities", "Softmax", "the same, declared probabilities",
            outputs="probabilities"),
    _honest("pgd-blur", "Blur", "the same behind a fixed blur"),
    _honest("pgd-stable-shift", "StableShift", "the same, logits minus their detached maximum"),
)  # fmt: skip
