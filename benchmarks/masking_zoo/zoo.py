"""The table of the zoo: which defense stands around which network, and which half it is in.

The halves were fixed before any verdict was measured, by this rule: the entries of a family that
have the same factory form one unit, so that variants of a defense stay together; a family's units,
ordered by the sha256 of the factory's name, go in turn to "choose" and "measure", and families, in
alphabetical order, begin in turn with the one and the other. Nobody picks.

Entries that were made later, to develop against, take no part in that: their `half` says "choose",
and those drawn before them stay where they were. What is to be
measured once is in neither half: `third_part.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

DEFENSES = Path(__file__).resolve().parent / "defenses"
#: By dataset and norm.
EPSILON = {
    ("fashion-mnist", "linf"): "0.1",
    ("cifar10", "linf"): "8/255",
    ("mnist", "linf"): "0.3",
    ("fashion-mnist", "l2"): "1",
}
#: What marks the line at which the gradient is lost or falsified.
MARKER = "# culprit"

Split = Literal["choose", "measure", "third"]


@dataclass(frozen=True)
class Entry:
    """A defense or an honest control.

    Attributes:
        factory: "file:Class" in `defenses`.
        kind: the contract's kind of masking; "" for honest controls.
        operation: the gradient is flattened, cut or falsified at one operation, whose line is
            marked; not so where a smooth function has an unhelpful slope, or nothing is wrong with
            the slope of what is computed.
        adaptive: the stand-in of `adaptive.py` that its hand-made attack follows.
        draws: over how many evaluations that attack averages.
        half: the half it is in, of entries that were made to develop against; None leaves it to the
            rule.
    """

    name: str
    factory: str
    dataset: str = "fashion-mnist"
    backbone: str = "undefended"
    kwargs: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    operation: bool = False
    adaptive: str = "itself"
    draws: int = 1
    random: bool = False
    outputs: str = "logits"
    precision: str = "float32"
    half: Split | None = None
    norm: str = "linf"

    @property
    def epsilon(self) -> str:
        """The budget of its audit, as written in the literature."""
        return EPSILON[self.dataset, self.norm]

    @property
    def masks(self) -> bool:
        """Whether it is meant to hide the gradient."""
        return bool(self.kind)

    @property
    def family(self) -> str:
        """The file of its source, by which the halves are drawn."""
        return self.factory.partition(":")[0]

    @property
    def source(self) -> Path:
        """The file of its source."""
        return DEFENSES / f"{self.family}.py"

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of its factory."""
        return {"dataset": self.dataset, "backbone": self.backbone, **self.kwargs}

    @cached_property
    def culprit(self) -> int | None:
        """The line of the source that is marked in the factory's class; None if there is none."""
        lines = marked_lines(self.source, self.factory.partition(":")[2])
        return lines[0] if lines else None

    @cached_property
    def split(self) -> Split:
        """The half it is in; what was not there when the halves were drawn is in the third part."""
        return self.half or _SPLITS.get((self.family, self.factory), "third")


def marked_lines(source: Path, name: str) -> list[int]:
    """The numbers of the lines of class `name` that carry the marker."""
    found, inside = [], False
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("class "):
            inside = line.startswith((f"class {name}(", f"class {name}:"))
        elif line and not line[0].isspace():
            inside = False
        if inside and line.rstrip().endswith(MARKER):
            found.append(number)
    return found


_F, _C = {"dataset": "fashion-mnist"}, {"dataset": "cifar10"}
_PGD = {"backbone": "pgd-trained"}
_FP, _CP = {**_F, **_PGD}, {**_C, **_PGD}


def _shattered() -> Iterator[Entry]:
    common: dict[str, Any] = {"kind": "shattered", "operation": True, "adaptive": "straight"}

    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(name, f"shattered:{cls}", **{**common, **where, **more})

    yield entry("bit-depth-4", "BitDepth", _F, kwargs={"levels": 4})
    yield entry("bit-depth-8-pgd", "BitDepth", _CP, kwargs={"levels": 8})
    yield entry("floor-division", "FloorDivision", _C, kwargs={"levels": 8})
    yield entry("remainder", "Remainder", _F, kwargs={"levels": 8})
    yield entry("thermometer", "Thermometer", _F, kwargs={"levels": 6})
    yield entry("thermometer-pgd", "Thermometer", _CP, kwargs={"levels": 10})
    yield entry("bucketize", "Bucket", _C, kwargs={"levels": 8})
    yield entry("lookup-table", "LookupTable", _FP, kwargs={"levels": 8})
    yield entry("integer-arithmetic", "IntegerArithmetic", _C, kwargs={"levels": 8})
    yield entry("bit-mask", "BitMask", _F)
    yield entry("patch-codebook", "PatchCodebook", _C, kwargs={"levels": 6})
    yield entry("jpeg-round", "JpegRound", _F)
    yield entry("jpeg-round-pgd", "JpegRound", _CP)
    yield entry("masked-median", "MaskedMedian", _F)
    yield entry("ripple", "Ripple", _F, operation=False)
    yield entry("ripple-cifar", "Ripple", _C, operation=False)
    yield entry("rounded-features", "RoundedFeatures", _C, adaptive="straight_features")
    yield entry("mean-sparse", "MeanSparse", _CP, adaptive="straight_sparse")
    yield entry("own-operator", "ScoredOperator", _C, kwargs={"levels": 8})


def _cut() -> Iterator[Entry]:
    common: dict[str, Any] = {"kind": "shattered", "operation": True, "adaptive": "straight"}

    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(name, f"cut:{cls}", **{**common, **where, **more})

    yield entry("mean-leak", "MeanLeak", _F)
    yield entry("mean-leak-pgd", "MeanLeak", _CP)
    yield entry("data-attribute", "DataAttribute", _C)
    yield entry("in-place-copy", "InPlaceCopy", _F)
    yield entry("half-detached", "HalfDetached", _C)
    yield entry("numpy-variation", "NumpyDenoise", _F)
    yield entry("pil-jpeg", "PilJpeg", _C)
    yield entry("pil-jpeg-fashion", "PilJpeg", _F)
    yield entry("pil-smooth", "PilSmooth", _FP)
    yield entry("python-lists", "PythonLists", _F)
    yield entry("no-grad-average", "NoGradAverage", _F, adaptive="average")
    yield entry("no-grad-average-pgd", "NoGradAverage", _CP, adaptive="average")
    yield entry("decoy", "Decoy", _F, adaptive="bypass")
    yield entry("decoy-pgd", "Decoy", _CP, adaptive="bypass")
    yield entry("frozen-features", "FrozenFeatures", _C, adaptive="bypass")


def _wrong_backward() -> Iterator[Entry]:
    common: dict[str, Any] = {"kind": "shattered", "operation": True, "adaptive": "bypass"}

    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(name, f"wrong_backward:{cls}", **{**common, **where, **more})

    yield entry("zero-gradient", "ZeroGradient", _F)
    yield entry("zero-gradient-pgd", "ZeroGradient", _CP)
    yield entry("flipped-gradient", "FlippedGradient", _C)
    yield entry("random-gradient", "RandomGradient", _F)
    yield entry("nan-gradient", "NanGradient", _C)
    yield entry("sparse-gradient", "SparseGradient", _F)
    yield entry("wrong-fold", "WrongFold", _C)
    yield entry("second-argument", "SecondArgument", _F)
    yield entry("hook-truncation", "HookTruncation", _F)
    yield entry("alternating-hook", "AlternatingHook", _C)
    yield entry("module-hook", "ModuleHook", _F)
    yield entry("watched", "Watched", _F, kind="other", operation=False)


def _stochastic() -> Iterator[Entry]:
    common: dict[str, Any] = {"kind": "stochastic", "draws": 10, "random": True}

    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(name, f"stochastic:{cls}", **{**common, **where, **more})

    yield entry("input-noise", "InputNoise", _F, kwargs={"sigma": 0.06})
    yield entry("input-noise-cifar", "InputNoise", _CP, kwargs={"sigma": 0.15})
    yield entry("resize-and-pad", "ResizeAndPad", _C)
    yield entry("barrage", "Barrage", _F)
    yield entry("dither", "Dither", _F, kwargs={"levels": 6}, operation=True, adaptive="straight")
    yield entry("test-dropout", "TestDropout", _F, kwargs={"amount": 0.3})
    yield entry("activation-pruning", "ActivationPruning", _F, kwargs={"amount": 0.5})
    yield entry("weight-noise", "WeightNoise", _F, kwargs={"amount": 0.3})
    yield entry("random-member", "RandomMember", _C)
    yield entry("mixup-inference", "MixupInference", _F)
    made: dict[str, Any] = {"half": "choose", "draws": 1, "adaptive": "bypass"}
    yield entry("gumbel-units", "GumbelUnits", _F, **made)
    yield entry("gumbel-units-pgd", "GumbelUnits", _FP, **made)
    yield entry("gumbel-units-cifar", "GumbelUnits", _C, **made)
    yield entry("logistic-units", "LogisticUnits", _F, **made)
    yield entry("bernoulli-units", "BernoulliUnits", _F, operation=True, **made)
    made |= {"draws": 4, "adaptive": "members", "operation": True}
    yield entry("noisy-vote", "NoisyVote", _F, **made)


def _output() -> Iterator[Entry]:
    def entry(name: str, cls: str, where: dict[str, Any], kind: str, **more: Any) -> Entry:
        return Entry(name, f"output:{cls}", **{"kind": kind, "adaptive": "bypass", **where, **more})

    head, loss = "output-level", "loss-level"
    yield entry("one-hot", "OneHot", _C, head, operation=True)
    yield entry("one-hot-pgd", "OneHot", _FP, head, operation=True)
    yield entry("ranks", "Ranks", _F, head, operation=True)
    yield entry("rounded-logits", "RoundedLogits", _C, head, operation=True)
    yield entry("code-word", "CodeWord", _F, head, operation=True)
    yield entry("sharp-softmax", "SharpSoftmax", _F, head)
    yield entry("sharp-softmax-pgd", "SharpSoftmax", _CP, head, kwargs={"factor": 200.0})
    yield entry("logits-1000", "Scaled", _F, loss)
    yield entry("logits-1000-cifar", "Scaled", _C, loss)
    yield entry("denormal-logits", "Scaled", _C, "vanishing", kwargs={"factor": 1e-43})
    yield entry("clamped-probabilities", "ClampedProbabilities", _F, head, operation=True)
    yield entry("saturated-tanh", "SaturatedTanh", _C, head)
    yield entry("distilled", "Plain", {**_F, "backbone": "distilled"}, loss)
    yield entry("hard-vote", "HardVote", _F, head, operation=True, adaptive="members")
    yield entry("hard-vote-fresh", "HardVote", _CP, head, operation=True, adaptive="members",
                kwargs={"fresh": True, "copies": 5}, random=True, draws=4)  # fmt: skip
    yield entry("mixed-precision-vote", "MixedPrecisionVote", _C, head, operation=True,
                adaptive="members")  # fmt: skip
    yield entry("nearest-prototype", "NearestPrototype", _FP, head, operation=True)
    made: dict[str, Any] = {"half": "choose", "outputs": "probabilities", "adaptive": "unrounded"}
    yield entry("half-probabilities", "HalfProbabilities", {**_F, "backbone": "distilled"}, head,
                operation=True, **made)  # fmt: skip
    yield entry("listed-probabilities", "ListedProbabilities", _F, head, operation=True, **made)
    yield entry("scripted-steps", "ScriptedSteps", _F, head, **made)
    yield entry("scripted-steps-pgd", "ScriptedSteps", _FP, head, **made)


def _vanishing() -> Iterator[Entry]:
    common: dict[str, Any] = {"kind": "vanishing", "adaptive": "straight"}

    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(name, f"vanishing:{cls}", **{**common, **where, **more})

    yield entry("smooth-staircase", "SmoothStaircase", _F)
    yield entry("smooth-staircase-pgd", "SmoothStaircase", _CP, kwargs={"levels": 8})
    yield entry("steep-contrast", "SteepContrast", _F, adaptive="soft_contrast")
    yield entry("half-precision-inside", "HalfPrecisionInside", _F, operation=True,
                adaptive="bypass")  # fmt: skip
    yield entry("winners-take-all", "WinnersTakeAll", _C, adaptive="smoothed", draws=10)
    yield entry("steep-activations", "SteepActivations", _F, adaptive="straight_activations")
    yield entry("contracted-loop", "ContractedLoop", _C)


def _test_time() -> Iterator[Entry]:
    def entry(name: str, cls: str, where: dict[str, Any], kind: str, **more: Any) -> Entry:
        return Entry(name, f"test_time:{cls}", **{"kind": kind, **where, **more})

    yield entry("batch-statistics", "BatchStatistics", _F, "other", adaptive="bypass")
    yield entry("batch-centred", "BatchCentred", _F, "other", adaptive="straight")
    yield entry("entropy-purifier", "EntropyPurifier", _F, "shattered", operation=True,
                adaptive="bypass_then_straight")  # fmt: skip
    yield entry("variation-purifier", "VariationPurifier", _C, "shattered", operation=True,
                adaptive="straight")  # fmt: skip
    yield entry("noise-purifier", "NoisePurifier", _F, "stochastic", operation=True, random=True,
                adaptive="straight", draws=10)  # fmt: skip
    yield entry("switching-curve", "SwitchingCurve", _FP, "shattered", operation=True,
                random=True, adaptive="straight")  # fmt: skip


def _honest() -> Iterator[Entry]:
    def entry(name: str, cls: str, where: dict[str, Any], **more: Any) -> Entry:
        return Entry(f"honest-{name}", f"honest:{cls}", **{**where, **more})

    yield entry("undefended", "Plain", _F)
    yield entry("pgd-trained", "Plain", _FP)
    yield entry("undefended-cifar", "Plain", _C)
    yield entry("pgd-trained-cifar", "Plain", _CP)
    yield entry("float16", "Plain", _FP, precision="float16")
    yield entry("bfloat16", "Plain", _CP, precision="bfloat16")
    yield entry("log-softmax", "LogSoftmax", _FP)
    yield entry("probabilities", "Softmax", _CP, outputs="probabilities")
    yield entry("logits-5", "Affine", _F)
    yield entry("logit-bias", "Affine", _CP, kwargs={"factor": 1.0, "bias": 3.0})
    yield entry("stable-shift", "StableShift", _CP)
    yield entry("monitored", "Monitored", _FP)
    yield entry("blur", "Blur", _FP)
    yield entry("normalised", "Normalised", _FP)
    yield entry("ensemble", "EnsembleMean", _FP)
    yield entry("median", "Median", _FP)
    yield entry("resize", "Resize", _CP)
    yield entry("leaky-clamp", "LeakyClamp", _CP)
    yield entry("smooth-activations", "SmoothActivations", _FP)
    yield entry("soft-vote", "SoftVote", _FP)
    yield entry("checkpointed", "Checkpointed", _CP)
    yield entry("right-function", "RightFunction", _CP)
    yield entry("weight-norm", "WeightNormalised", _FP)
    yield entry("permuted", "Permuted", _FP)
    yield entry("unused-training", "UnusedTraining", _CP)
    yield entry("straight-through", "StraightThrough", _FP)
    yield entry("rounded-weights", "RoundedWeights", _CP)
    yield entry("harmless-hook", "HarmlessHook", _FP)
    yield entry("faint-noise", "FaintNoise", _CP, random=True)
    yield entry("idle-randomness", "IdleRandomness", _FP)
    yield entry("noisy-scores", "NoisyScores", _FP, random=True)


ENTRIES: tuple[Entry, ...] = tuple(
    entry
    for family in (_shattered, _cut, _wrong_backward, _stochastic, _output, _vanishing, _test_time,
                   _honest)
    for entry in family()
)  # fmt: skip


def _halves(entries: tuple[Entry, ...]) -> dict[tuple[str, str], Split]:
    """The rule at the top of this file."""
    halves: dict[tuple[str, str], Split] = {}
    turns: tuple[Split, Split] = ("choose", "measure")
    for start, family in enumerate(sorted({entry.family for entry in entries})):
        units = {e.factory for e in entries if e.family == family and e.half is None}
        by_hash = sorted(units, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
        for number, factory in enumerate(by_hash):
            halves[family, factory] = turns[(start + number) % 2]
    return halves


_SPLITS = _halves(ENTRIES)
