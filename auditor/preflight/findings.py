"""The single looks at a victim; each yields findings with a remedy, or nothing."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auditor.maths.intervals import clopper_pearson
from auditor.maths.objectives import choose_objective
from auditor.preflight.asking import scores_of, small_batches
from auditor.results import Finding, Level
from auditor.subject.outputs import Outputs
from auditor.subject.population import in_set
from auditor.subject.precision import names_of
from auditor.subject.samples import Samples
from auditor.subject.victim import STOCHASTIC_DRAWS, Victim
from auditor.surrogate import NoGradientError, naive
from auditor.usercode.calls import blamed

#: Where a model comes from: a function of the user's, or a plugin that reads it.
Maker = Literal["factory", "loader"]
#: Differences of logits, relative to their spread, that floating point does not explain.
_REPEAT_TOLERANCE = 1e-4
_BATCH_TOLERANCE = 1e-3
#: A clean accuracy this far from the expected one, and outside its interval, stops the run.
_EXPECTED_SLACK = 0.02
_PROBABILITY_SUM = 1e-3


def finding(
    victim: str,
    code: str,
    title: str,
    severity: Level,
    summary: str,
    *,
    evidence: tuple[str, ...],
    remedy: str,
) -> Finding:
    """A finding of high confidence on one model, with a fingerprint that stays across runs."""
    known_by = fingerprint(victim, code)
    return Finding(code, title, severity, "high", summary, evidence, remedy, (), known_by)


def fingerprint(model: str, *what: str) -> str:
    """What a finding on a model is known by across runs: two of one fingerprint tell one fact."""
    return hashlib.sha256("\0".join([model, *what]).encode()).hexdigest()[:16]


@torch.no_grad()
def output_findings(victim: Victim, probe: torch.Tensor, declared: str) -> Iterator[Finding]:
    """Decide on `victim.outputs`, and say where it contradicts what was declared."""
    z = scores_of(victim, probe)
    single = z.shape[1] == 2 and not z[:, 0].any()  # one logit of a model for two classes
    if single:
        seen = _kind_of_single(z[:, 1], declared)
    else:
        seen = _kind_of_output(z.double(), 4 * torch.finfo(victim.precision).eps)
    victim.outputs = seen if declared == "auto" else declared  # type: ignore[assignment]
    if declared not in ("auto", seen):
        yield finding(
            victim.name, "output-kind", "The output is not of the declared kind", "high",
            f"The configuration says {declared}; what the model returns looks like {seen}.",
            evidence=(f"range {z.min():.3g} to {z.max():.3g}, "
                      f"rows sum to {z.double().sum(1).mean():.3g} on average",),
            remedy=f'set outputs = "{seen}", or let the model return {declared}',
        )  # fmt: skip
    if seen == "probabilities":
        yield finding(
            victim.name, "probabilities", "The model returns probabilities", "low",
            "The audit takes their logarithm; where a probability has rounded to 0 or 1 the score, "
            "and with it the gradient, is lost.",
            evidence=("one number per image, every one in [0, 1]" if single else
                      f"every output in [0, 1], every row sums to 1 within {_PROBABILITY_SUM:g}",),
            remedy="return the values before the softmax",
        )  # fmt: skip


def _kind_of_output(z: torch.Tensor, rounding: float) -> Outputs:
    tolerance = max(_PROBABILITY_SUM, rounding)

    def sums_to_one(p: torch.Tensor) -> bool:
        return bool(((p.sum(1) - 1).abs() < tolerance).all())

    if z.min() >= 0 and z.max() <= 1 + tolerance and sums_to_one(z):
        return "probabilities"
    if z.max() <= tolerance and sums_to_one(z.exp()):
        return "log-probabilities"
    return "logits"


def _kind_of_single(z: torch.Tensor, declared: str) -> Outputs:
    """Of one number per image: any may be a logit, so what is declared stands where it can."""
    if declared == "log-probabilities" and z.max() <= 0:
        return "log-probabilities"
    may_be = z.min() >= 0 and z.max() <= 1
    return "probabilities" if may_be and declared != "logits" else "logits"


@torch.no_grad()
def mode_findings(
    victim: Victim, probe: torch.Tensor, training_modules: tuple[str, ...], maker: Maker
) -> Iterator[Finding]:
    """What does not follow eval(), and what needed it, where scores depend on it."""
    still = tuple(
        name or "(the model)" for name, part in victim.module.named_modules() if part.training
    )
    if still and _matters(victim, probe, victim.evaluating()):
        yield finding(
            victim.name, "train-mode", "Parts of the model stay in training mode", "high",
            "After eval() was called, parts of the model are still in training mode, and it "
            "answers otherwise than it would without.",
            evidence=still[:10], remedy=_STAYS[maker],
        )  # fmt: skip
    elif training_modules and _matters(victim, probe, victim.as_made(mode=True)):
        yield finding(
            victim.name, "train-mode", f"The {maker} left the model in training mode", "info",
            "Dropout and batch normalisation behave otherwise in training; the audit has called "
            "eval(). Whoever deploys this model has to do the same.",
            evidence=training_modules[:10], remedy=_LEFT[maker],
        )  # fmt: skip


#: What the user of a model can do who made it by a factory of his own, or has it from a loader.
_STAYS = {
    "factory": "do not override train(); call eval() in the factory",
    "loader": "save or export the model after model.eval(); if it was, tell the author of its code "
    "that train() does not reach every part",
}
_LEFT = {
    "factory": "call model.eval() at the end of the factory",
    "loader": "call model.eval() wherever the model is deployed",
}


def _matters(
    victim: Victim, probe: torch.Tensor, otherwise: contextlib.AbstractContextManager[object]
) -> bool:
    """Whether scores are others in another mode, with the same random numbers."""
    calls = victim._calls
    with victim.put_back():
        here = victim.logits_of(scores_of(victim, probe))
        victim._calls = calls
        try:
            with otherwise:
                there = victim.logits_of(scores_of(victim, probe))
        except Exception:  # a mode in which it cannot be asked is another one
            return True
        finally:
            victim._calls = calls
    return _relative_difference(here, there) > _REPEAT_TOLERANCE


def loading_findings(victim: Victim, remarks: tuple[str, ...]) -> Iterator[Finding]:
    """What its loader or checkpoint says of it."""
    if remarks:
        yield finding(
            victim.name, "loading", "How the model was loaded", "info", remarks[0],
            evidence=remarks, remedy="check that this is the model that is deployed",
        )  # fmt: skip


def left_in_training(module: nn.Module) -> tuple[str, ...]:
    """Names of the modules in training mode that behave otherwise there."""
    return tuple(
        f"{name or '(the model)'}: {type(part).__name__}"
        for name, part in module.named_modules()
        if part.training and _follows_the_mode(part)
    )


def _follows_the_mode(part: nn.Module) -> bool:
    if isinstance(part, nn.modules.batchnorm._NormBase):
        return bool(part.track_running_stats)
    return isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0


@torch.no_grad()
def state_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    """Whether a forward pass changes parameters or buffers."""
    with victim.put_back() as changed:
        scores_of(victim, probe)
    if changed:
        yield finding(
            victim.name, "state-changes", "Looking at images changes the model", "high",
            "A forward pass changes the model's own state, so that its answers depend on what it "
            "was asked before, and this audit cannot be repeated exactly.",
            evidence=tuple(changed[:10]),
            remedy="put batch normalisation into evaluation mode; keep no running state in forward",
        )  # fmt: skip


def _relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    spread = (a.amax() - a.amin()).clamp(min=torch.finfo(a.dtype).tiny)
    return float(((a - b).abs().amax() / spread).nan_to_num(0))


@torch.no_grad()
def determinism_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    """Whether repeated calls agree; sets `victim.draws` where they do not."""
    first = victim.logits_of(scores_of(victim, probe))
    repeats = [victim.logits_of(scores_of(victim, probe)) for _ in range(4)]
    difference = max(_relative_difference(first, again) for again in repeats)
    victim.seeded = difference > 0
    if difference > _REPEAT_TOLERANCE:
        victim.draws = STOCHASTIC_DRAWS
        flips = sum(int((first.argmax(1) != again.argmax(1)).sum()) for again in repeats)
        yield finding(
            victim.name, "nondeterministic", "The same picture gets different answers", "medium",
            f"Repeated calls differ. Every judgement in this audit is therefore the majority of "
            f"{STOCHASTIC_DRAWS} draws.",
            evidence=(f"largest difference {difference:.2g} of the logits' range",
                      f"{flips} changed answers in {4 * len(probe)} repeated ones"),
            remedy="switch the randomness off if it is not part of the deployed model; attack it "
                   "with eot of 10 or more if it is",
        )  # fmt: skip


@torch.no_grad()
def batch_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    """Whether an image's scores depend on the images beside it."""
    if victim.draws > 1 or len(probe) < 2:
        return
    whole, flipped, part = (
        victim.logits_of(scores_of(victim, x))
        for x in (probe, probe.flip(0), probe[: len(probe) // 2])
    )
    together, reverse, half = whole, flipped.flip(0), part
    difference = max(
        _relative_difference(together, reverse), _relative_difference(together[: len(half)], half)
    )
    # Coarse types round otherwise in another batch shape; ten units in the last place are theirs.
    if difference > max(_BATCH_TOLERANCE, 10 * torch.finfo(victim.precision).eps):
        yield finding(
            victim.name, "batch-dependence", "An answer depends on the rest of the batch", "high",
            "The scores of a picture change with the pictures beside it. Accuracies then hold for "
            "this audit's batches only.",
            evidence=(f"largest difference {difference:.2g} of the logits' range when the batch is "
                      "reversed or halved",),
            remedy="put batch normalisation into evaluation mode; drop operations across the batch",
        )  # fmt: skip


@torch.no_grad()
def range_findings(victim: Victim, probe: torch.Tensor, labels: torch.Tensor) -> Iterator[Finding]:
    """Whether the model does far better on pixels of another range."""

    def right(x: torch.Tensor) -> float:
        z = scores_of(victim, x)
        return float((z.argmax(1) == labels).double().mean())

    here = right(probe)
    for name, x in (("[0, 255]", probe * 255), ("[-1, 1]", probe * 2 - 1)):
        try:
            there = right(x)
        except Exception:  # a model may well refuse pixels that are not its own
            continue
        if there > here + 0.2:
            yield finding(
                victim.name, "input-range", "The model expects another range of pixels", "high",
                f"It classifies far more images correctly when pixels are given in {name} rather "
                "than in [0, 1].",
                evidence=(f"{there:.0%} against {here:.0%} of {len(probe)} images",),
                remedy="let the factory's model scale its input, or set `normalize` = "
                       + ("{ mean = [0], std = [0.00392157] }" if "255" in name
                          else "{ mean = [0.5], std = [0.5] }"),
            )  # fmt: skip


def look_for_gradient(
    victim: Victim, probe: torch.Tensor, labels: torch.Tensor, classes: int
) -> str:
    """Whether autograd reaches the pixels: "there", "absent", or what torch says instead.

    It is absent only where the graph from the scores ends before the pixels.
    """
    objective = choose_objective("cross-entropy", classes)
    try:
        naive(victim).evaluate(probe[:2], labels[:2], objective, gradient=True)
    except NoGradientError:
        return "absent"
    except Exception as error:  # user code runs here, with a graph, and may raise anything
        return blamed(error)
    return "there"


def gradient_findings(victim: Victim, seen: str) -> Iterator[Finding]:
    """What `look_for_gradient` saw, and what torch had to be helped with."""
    if seen == "absent":
        yield finding(
            victim.name, "no-gradient", "The model gives no gradient", "high",
            "Autograd cannot follow the computation from the scores back to the pixels, so no "
            "gradient attack can run. What such an audit calls robust may be nothing of the kind.",
            evidence=("the graph of the cross-entropy does not reach the pixels",),
            remedy="keep the computation in differentiable torch operations: no detach, no_grad, "
                   "numpy or argmax between input and output",
        )  # fmt: skip
    elif seen != "there":
        yield finding(
            victim.name, "gradient-failed", "The gradient could not be computed", "high",
            "torch refuses to differentiate the model, which says nothing of the gradient itself. "
            "No gradient attack can run, so that this audit's number is too high, if anything.",
            evidence=(seen,), remedy=_remedy_for(seen),
        )  # fmt: skip


#: What to do about what torch says, by words in it.
_REMEDIES = (
    ("inplace", "write y = f(y) in the place of operations that change a tensor in place"),
    ("memory", "audit where there is more memory"),
    ("hook", "take the hooks off at the end of the factory"),
)


def _remedy_for(said: str) -> str:
    found = (remedy for words, remedy in _REMEDIES if words in said)
    return next(found, "give the model one image with requires_grad_(), call backward() on the "
                       "sum of its scores, and mend what torch reports")  # fmt: skip


def precision_findings(victim: Victim) -> Iterator[Finding]:
    """Where the declared precision is not what the weights were made in."""
    if victim.declared is None or victim.made_in in ((), (victim.declared,)):
        return
    asked, made = names_of([victim.declared]), names_of(victim.made_in)
    evidence = (f"precision = {asked}", f"weights made in {made}, audited in {victim.precisions}")
    if victim.types == (victim.declared,):
        yield finding(
            victim.name, "precision", "The model was cast", "info",
            f"Its factory makes weights in {made}, and `precision` says {asked}: the audit has "
            "cast them. Whoever deploys this model has to do the same.",
            evidence=evidence, remedy="leave `precision` out if the factory's model is deployed",
        )  # fmt: skip
    else:
        yield finding(
            victim.name, "precision", "The model is not of the declared precision", "medium",
            f"`precision` says {asked}, and its weights are in {victim.precisions}. Nothing was "
            "cast: the model was audited as its factory made it.",
            evidence=evidence,
            remedy="leave `precision` out, or let the factory make the model that is deployed",
        )  # fmt: skip


def left_findings(victim: Victim, told: Sequence[str]) -> Iterator[Finding]:
    """Other ways to compute the model that could not be used, and what they raised."""
    if told:
        yield finding(
            victim.name, "computed-as-is", "The model could not be computed in another way", "info",
            "Attacks may run on a copy of the model that is faster, or finer than half precision. "
            "Where such a copy cannot be had they run on the model as it is.",
            evidence=tuple(told),
            remedy="nothing, unless the audit takes too long or the model is in half precision: "
            "then write its forward without fixed types and without branches on its own state",
        )  # fmt: skip


def size_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    """Batches that the model does not take."""
    if victim.refuses:
        yield finding(
            victim.name, "large-batches", "The model does not take every batch", "medium",
            f"Given {victim.refuses}. The audit asks it about {victim.pieces.limit} at once.",
            evidence=(), remedy="check that it is deployed with such batches; write batch_size in "
            "[run] if they are known",
        )  # fmt: skip
    for refusal in small_batches(victim, probe)[:1]:
        size = "one image" if refusal.size == 1 else f"{refusal.size} images"
        yield finding(
            victim.name, "small-batches", f"The model fails on a batch of {size}", "medium",
            f"Given {size}, {refusal.what}. The audit fills batches up to {victim.least} images"
            f"{', and others to multiples of that' if victim.multiple > 1 else ''}; "
            "deployed, the model will fail on the last batch of a set, or on a single request.",
            evidence=tuple(filter(None, (refusal.where,))),
            remedy="name the axes that are meant, such as squeeze(-1) or flatten(1), and do not "
                   "assume more than one image",
        )  # fmt: skip


def nonfinite_findings(victim: Victim, nonfinite: NDArray[np.bool_]) -> Iterator[Finding]:
    """Scores that are NaN or infinite on clean images."""
    if nonfinite.any():
        first = np.flatnonzero(nonfinite)[:5].tolist()
        yield finding(
            victim.name, "non-finite", "The model returns NaN or infinity", "high",
            f"On {int(nonfinite.sum())} of {len(nonfinite)} clean images the scores are not finite "
            "and count as misclassified.",
            evidence=(f"first at positions {first}",),
            remedy="look for an overflow in half precision, a division by zero or a logarithm of 0",
        )  # fmt: skip


def class_findings(victim: Victim, samples: Samples, classes: int) -> Iterator[Finding]:
    """Outputs that no image of the set belongs to."""
    names = len(samples.images.class_names)
    if names not in (0, classes):
        yield finding(
            victim.name, "class-names", "The classes have another number of names", "medium",
            f"The data has {names} class names and the model tells {classes} classes apart, so "
            "that a name may stand beside another class than its own.",
            evidence=(f"class names: {names}", f"outputs: {classes}",
                      f"labels: up to {int(samples.images.y.max())}"),
            remedy="give one name per output of the model, in the order of its labels",
        )  # fmt: skip
    present = len(np.unique(samples.images.y))
    if present < classes:
        yield finding(
            victim.name, "class-count", "The data does not have all of the model's classes", "info",
            f"The model tells {classes} classes apart and the data has images of {present}.",
            evidence=(f"labels present: {present}", f"outputs: {classes}"),
            remedy="check that model and data belong together, and that labels are not shifted",
        )  # fmt: skip


def guessing_findings(
    victim: Victim, correct: NDArray[np.bool_], classes: int
) -> Iterator[Finding]:
    """A clean accuracy that guessing could reach."""
    count, total = int(correct.sum()), len(correct)
    low, high = clopper_pearson(count, total)
    if low <= 1 / classes:
        yield finding(
            victim.name, "guessing", "The model may be no better than guessing", "high",
            f"It classifies {count} of {total} clean images correctly, which guessing among "
            f"{classes} classes could reach; a robust accuracy below that says nothing.",
            evidence=(f"95 % interval {low:.1%} to {high:.1%}, guessing {1 / classes:.1%}",),
            remedy="check weights, `normalize` and the order of the labels; audit more images",
        )  # fmt: skip


def accuracy_findings(
    victim: Victim, samples: Samples, correct: NDArray[np.bool_], expected: float | None
) -> Iterator[Finding]:
    """A clean accuracy that contradicts the expected one; it stops the run."""
    if expected is None:
        return
    count, total = int(correct.sum()), len(correct)
    seen, (low, high) = in_set(samples, correct, 0.999)
    weighted = " (every class weighted by its share)" if samples.draw == "balanced" else ""
    if abs(seen - expected) > _EXPECTED_SLACK and not low <= expected <= high:
        yield finding(
            victim.name, "clean-accuracy", "Clean accuracy is far from what is expected", "high",
            f"The clean accuracy is {seen:.1%}{weighted} and {expected:.1%} was expected, so "
            "model, weights, normalisation or data are not what they should be.",
            evidence=(f"{count} of {total} images, 99.9 % interval {low:.1%} to {high:.1%}",),
            remedy="check weights, `normalize`, the order of the labels, and `expected_accuracy`",
        )  # fmt: skip
