"""Naive, repaired, rescaled, averaged, in-precision surrogates: one class, composed by methods."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

import torch

from auditor.maths.objectives import Objective
from auditor.subject.victim import Victim
from auditor.surrogate.scores import Pass, deciding, exact_scores, rescaled

_T = TypeVar("_T")
#: What a search may run in; what it finds counts only once the victim has confirmed it.
SearchPrecision = Literal["float32", "tf32", "bfloat16"]


@dataclass(frozen=True)
class Evaluation:
    """What a surrogate says of a batch: everything detached."""

    #: (B, K), the mean over the draws.
    logits: torch.Tensor
    #: (B,), the objective, the mean over the draws.
    loss: torch.Tensor
    #: Like x, d loss / d x, rows that are not finite set to zero; None if not asked for.
    gradient: torch.Tensor | None
    #: (B,) bool: rows whose gradient held NaN or infinity; None where there is no odd row at all.
    nonfinite: torch.Tensor | None
    #: (B,) bool: rows whose gradient was zero everywhere; None likewise.
    zero: torch.Tensor | None


class NoGradientError(Exception):
    """The model's logits do not depend on its input in a way that autograd can follow."""


@dataclass(frozen=True)
class Surrogate:
    """A differentiable stand-in for a victim.

    Attributes:
        name: for the report.
        model: what is differentiated: the victim itself, or a copy of it in another precision.
        draws: how many evaluations are averaged (expectation over transformation).
        tf32: whether a CUDA device may round the factors of its matrix products to TF32.
        repairs: whether operations that cut or falsify gradients are given useful ones.
        rescales: whether the loss is that of rescaled logits.
        expects: whether random numbers are replaced by what they are worth in the mean.
    """

    name: str
    model: Victim
    draws: int = 1
    tf32: bool = False
    repairs: bool = False
    rescales: bool = False
    expects: bool = False

    def averaged(self, draws: int) -> Surrogate:
        """The same, its loss and gradient averaged over `draws` evaluations (EOT).

        Source: Athalye et al. 2018, arXiv:1707.07397, eq. 2.
        """
        if draws == 1:
            return self
        name = f"{self.name}, averaged over {draws} draws"
        return replace(self, name=name, draws=self.draws * draws)

    def in_precision(self, precision: torch.dtype) -> Surrogate:
        """The same, computed in another floating-point type."""
        if self.model.types == (precision,):
            return self
        name = f"{self.name} in {str(precision).removeprefix('torch.')}"
        return replace(self, name=name, model=self.model.in_precision(precision))

    def repaired(self) -> Surrogate:
        """The same with a gradient where the model's operations have none, or a false one (BPDA).

        The logits are the model's. Where it ends in a head that keeps the order of its scores (a
        softmax or sigmoid, rounded or not, the one-hot of an argmax), the loss and its gradient are
        those of the scores before it, on images whose answer these decide.

        Source: Athalye et al. 2018, arXiv:1802.00420, section 4.1. `repair` and `heads` say how.
        """
        return self if self.repairs else replace(self, name=f"{self.name}, repaired", repairs=True)

    def expected(self) -> Surrogate:
        """The same at its randomness's mean: nothing is drawn, so that one evaluation is enough.

        Coins, gates and dropout count for their probabilities, additive noise for its mean, a
        choice for the middle or the likeliest; `expectation` says how. It is an approximation, for
        the expectation of a network is not the network of expectations, and its logits are not the
        model's. It runs on a copy of the module, so that nothing a model keeps between calls is
        touched.

        Raises:
            Exception: whatever `copy.deepcopy` raises on a module that cannot be copied.
        """
        if self.expects:
            return self
        name = f"{self.name}, at its randomness's mean"
        return replace(self, name=name, model=self.model.copied(), expects=True)

    def rescaled(self) -> Surrogate:
        """The same with the loss of logits brought to a range of 6 image by image, in float64.

        Cross-entropy then underflows nowhere. The logits are the model's.
        """
        return (
            self if self.rescales else replace(self, name=f"{self.name}, rescaled", rescales=True)
        )

    def for_search(self, precision: SearchPrecision) -> Surrogate:
        """The same in a faster, coarser precision; itself where it is no float32 surrogate."""
        if precision == "float32" or self.model.types != (torch.float32,):
            return self
        if precision == "tf32":
            return replace(self, name=f"{self.name} in tf32", tf32=True)
        return self.in_precision(torch.bfloat16)

    def evaluate(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        objective: Objective,
        *,
        gradient: bool,
        target: torch.Tensor | None = None,
        jacobian: bool = False,
    ) -> Evaluation:
        """Logits, objective and perhaps gradient at `x` (B, C, H, W) with labels `y` (B,).

        Args:
            target: (B,) classes the objective aims at; None if untargeted.
            jacobian: the gradient is that of every logit, (B, K, C, H, W).

        Raises:
            NoGradientError: a gradient is asked for and the graph does not reach the input.
            RuntimeError: torch refuses to differentiate the model in every way that is known.
        """

        def work(part: slice) -> _Drawn:
            aim = None if target is None else target[part]
            drawn = [
                self._draw(x[part], y[part], aim, objective, gradient=gradient, jacobian=jacobian)
                for _ in range(self.draws)
            ]
            return _combined(drawn, _mean)

        with _tf32() if self.tf32 else contextlib.nullcontext():
            parts = self.model.pieces.run(work, len(x))
        logits, loss, slope = parts[0] if len(parts) == 1 else _combined(parts, torch.cat)
        if slope is None:
            return Evaluation(logits, loss, None, None, None)
        # Norms are the quickest look: a row's is NaN or infinite if any entry is. Where they do not
        # prove that all is well (their squares may round to 0), each row is looked at closely.
        norms = torch.linalg.vector_norm(slope.flatten(1), dim=1)
        low, high = torch.stack(torch.aminmax(norms)).tolist()
        if low > 0 and high < math.inf:  # false for NaN
            return Evaluation(logits, loss, slope, None, None)
        largest = slope.flatten(1).abs().amax(1)
        nonfinite = ~largest.isfinite()
        slope = torch.where(nonfinite.view(-1, *[1] * (slope.dim() - 1)), 0, slope)
        return Evaluation(logits, loss, slope, nonfinite, largest == 0)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) for pixels `x`, differentiable: what losses are computed on. Passes are counted.

        They are the model's logits, but for the repaired and the rescaled surrogate's; the mean
        over the draws.
        """
        point = x.to(self.model.compute_dtype)
        drawn = [self._answers(point, cautious=False)[1] for _ in range(self.draws)]
        scores = (drawn[0] if len(drawn) == 1 else torch.stack(drawn).mean(0)).to(x.dtype)
        if scores.requires_grad:
            scores.register_hook(self._counted)  # type: ignore[no-untyped-call]
        return scores

    def _counted(self, slope: torch.Tensor) -> None:
        self.model.passes.backwards += len(slope) * self.draws

    def _draw(self, *args: Any, **options: Any) -> _Drawn:
        if not self.repairs:
            return persisting(self.model, lambda: self._evaluated(False, *args, **options))
        from auditor.surrogate.repair.repair import overwriting  # torch is needed to import it

        def work(cautious: bool) -> _Drawn:
            return self._evaluated(cautious, *args, **options)

        return persisting(self.model, lambda: overwriting(self.model, work))

    def _evaluated(
        self,
        cautious: bool,
        x: torch.Tensor,
        y: torch.Tensor,
        target: torch.Tensor | None,
        objective: Objective,
        *,
        gradient: bool,
        jacobian: bool,
    ) -> _Drawn:
        with torch.set_grad_enabled(gradient):
            point = x.detach().to(self.model.compute_dtype).requires_grad_(gradient)
            logits, scores = self._answers(point, cautious)
            loss = objective(scores, y, target)
            if not gradient:
                return logits.detach().to(x.dtype), loss.detach().to(x.dtype), None
            if not loss.requires_grad:
                raise NoGradientError(self.model.name)
            # The images of a batch are independent: a sum's gradient holds each one's own.
            sums = scores.sum(0).unbind() if jacobian else (loss.sum(),)
            slopes = [self._slope(total, point, keep=total is not sums[-1]) for total in sums]
        slope = torch.stack(slopes, 1) if jacobian else slopes[0]
        return logits.detach().to(x.dtype), loss.detach().to(x.dtype), _narrowed(slope, x.dtype)

    def _answers(self, point: torch.Tensor, cautious: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's logits (B, K), and the scores that the loss is computed on."""
        model = self.model
        if not (self.repairs or self.rescales):
            with self._within():
                logits = model.logits(point)
            return logits, logits
        if self.repairs:
            seen = _repaired(model, point, cautious, self._within())
        else:
            with self._within():
                seen = _untouched(model, point)
        logits = model.logits_of(seen.raw)
        if self.rescales:
            scores = exact_scores(seen.soft, model.outputs)
        else:
            scores = model.logits_of(seen.soft)
        if seen.scores is not None:
            scores = deciding(seen.scores.to(scores.dtype), logits.detach(), scores)
        return logits, rescaled(scores.double()) if self.rescales else scores

    def _within(self) -> contextlib.AbstractContextManager[object]:
        """What is active while the model runs."""
        if not self.expects:
            return contextlib.nullcontext()
        from auditor.surrogate.expectation.expectation import (
            Expectation,  # torch is needed to import it
        )

        return Expectation()

    def _slope(self, total: torch.Tensor, point: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """d total / d point; `keep` the graph for a further one."""
        slope = self.model.differentiation.derivative(total, point, keep=keep)
        if slope is None:
            raise NoGradientError(self.model.name)
        self.model.passes.backwards += len(point)
        return slope


def persisting(model: Victim, work: Callable[[], _T]) -> _T:
    """`work`, which differentiates the model, in whatever way torch does not refuse."""
    calls, passes = model._calls, replace(model.passes)

    def retract() -> None:
        model._calls = calls
        model.passes.forwards, model.passes.backwards = passes.forwards, passes.backwards

    return model.differentiation.persist(work, retract)


def _repaired(
    model: Victim,
    point: torch.Tensor,
    cautious: bool,
    within: contextlib.AbstractContextManager[object],
) -> Pass:
    from auditor.surrogate.repair.repair import repaired_pass  # torch is needed to import it

    return repaired_pass(model, point, cautious=cautious, within=within)


def _untouched(model: Victim, point: torch.Tensor) -> Pass:
    raw = model.raw(point)
    assert isinstance(raw, torch.Tensor)  # pre-flight refuses other outputs
    return Pass(raw, raw, None)


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """CUDA may use TF32 meanwhile."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


#: Logits (B, K), loss (B,), gradient or None.
_Drawn: TypeAlias = "tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]"


def _combined(drawn: list[_Drawn], combine: Callable[[list[torch.Tensor]], torch.Tensor]) -> _Drawn:
    """Each of the three combined over the list."""
    slopes = [one[2] for one in drawn if one[2] is not None]
    logits, loss = combine([one[0] for one in drawn]), combine([one[1] for one in drawn])
    return logits, loss, combine(slopes) if slopes else None


def _mean(drawn: list[torch.Tensor]) -> torch.Tensor:
    return drawn[0] if len(drawn) == 1 else torch.stack(drawn).mean(0)


def _narrowed(slope: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`slope` in another type; images whose gradient would vanish there are scaled to length 1."""
    if slope.dtype == dtype:
        return slope
    largest = slope.flatten(1).abs().amax(1).view(-1, *[1] * (slope.dim() - 1))
    vanishing = (largest > 0) & (largest < torch.finfo(dtype).tiny)
    return torch.where(vanishing, slope / largest, slope).to(dtype)


def naive(victim: Victim) -> Surrogate:
    """The victim's own autograd."""
    return Surrogate("naive", victim)
