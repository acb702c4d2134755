"""Naive, averaged and in-precision surrogates: one class, composed by methods."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from auditor.objectives import Objective
from auditor.victim import Victim


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
    """

    name: str
    model: Victim
    draws: int = 1

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
        if precision == self.model.precision:
            return self
        name = f"{self.name} in {str(precision).removeprefix('torch.')}"
        return replace(self, name=name, model=self.model.in_precision(precision))

    def evaluate(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        objective: Objective,
        *,
        gradient: bool,
    ) -> Evaluation:
        """Logits, objective and perhaps gradient at `x` (B, C, H, W) with labels `y` (B,).

        Raises:
            NoGradientError: a gradient is asked for and the graph does not reach the input.
        """
        drawn = [self._draw(x, y, objective, gradient=gradient) for _ in range(self.draws)]
        logits, loss = _mean([one[0] for one in drawn]), _mean([one[1] for one in drawn])
        if not gradient:
            return Evaluation(logits, loss, None, None, None)
        slope = _mean([one[2] for one in drawn if one[2] is not None])
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

    def _draw(
        self, x: torch.Tensor, y: torch.Tensor, objective: Objective, *, gradient: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        with torch.set_grad_enabled(gradient):
            point = x.detach().to(self.model.compute_dtype).requires_grad_(gradient)
            logits = self.model.logits(point)
            loss = objective(logits, y)
            if not gradient:
                return logits.to(x.dtype), loss.to(x.dtype), None
            if not loss.requires_grad:
                raise NoGradientError(self.model.name)
            # The images of a batch are independent: the sum's gradient holds each one's own.
            (slope,) = torch.autograd.grad(loss.sum(), point, allow_unused=True)
            if slope is None:
                raise NoGradientError(self.model.name)
        self.model.passes.backwards += len(x)
        return logits.detach().to(x.dtype), loss.detach().to(x.dtype), _narrowed(slope, x.dtype)


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
