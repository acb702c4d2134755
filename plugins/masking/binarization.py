"""The binarization test: an attack has to find an example that is known to exist.

Zimmermann et al. 2022. For each image a binary head is put on the model's features, which tells
random points inside the ball from one point on its boundary. That point is an adversarial example
of the new head; an attack through the model's gradient that does not find any cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from auditor.api import (
    CheckReport,
    Measurement,
    PositiveInt,
    Probe,
    Symptom,
    check,
    clopper_pearson,
    not_applicable,
    param,
)

from .survivors import bounds, of, sample

if TYPE_CHECKING:
    from torch import nn

#: With fewer survivors there is little to be explained.
_SURVIVORS = 0.05
#: The inner points lie within this part of the radius.
_INNER = 0.95
#: Flagged if the attack certainly succeeds less often, while random points do less often too.
_LOW, _EASY = 0.7, 0.5
#: With fewer images, no rate is certain.
_LEAST = 8
#: Steps of fitting.
_FITTED = 500

#: As text, so that importing this loads no torch.
Features: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


@check(
    name="binarization",
    reference="Zimmermann et al. 2022, arXiv:2206.13991, section 3",
    measures=("success of the binarization test",),
)
@dataclass(frozen=True)
class Binarization:
    """Replaces the head so that an adversarial example surely exists, and looks for it.

    Looks at the path from pixels to features only, for the head is replaced. Run where more than a
    twentieth of the images survive and an earlier check found something.
    """

    images: PositiveInt = param(24, "survivors that are looked at")
    inner: PositiveInt = param(200, "points inside the ball, beside one on its boundary")
    steps: PositiveInt = param(60, "gradient steps of the attack")
    always: bool = param(False, "run it even if no earlier check found anything")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = 0 if random else min(self.images, images)
        return n * (3 + 2 * self.inner + self.steps), n * self.steps

    def run(self, probe: Probe) -> CheckReport:
        """Fit, attack, compare with random points."""
        if why := self._needless(probe):
            return not_applicable(why)
        rows = sample(probe, probe.survivors(), self.images)
        layer = last_linear(probe, rows[:1])
        if layer is None:
            return not_applicable(
                "The model does not end in a linear layer whose features could be read."
            )
        test = _Test(probe, layer, rows)
        fitted = test.fit(self.inner)
        if fitted < _LEAST:
            return not_applicable(
                f"Of {len(rows)} images only {fitted} could be given such a head: too few."
            )
        by_gradient, by_chance = test.attack(self.steps), test.chance(self.inner)
        return self._report(probe, by_gradient, by_chance, fitted)

    def _needless(self, probe: Probe) -> str:
        survivors, total = len(probe.survivors()), len(probe.y)
        if survivors <= _SURVIVORS * total:
            return f"Only {of(survivors, total)} survive."
        if probe.random:
            return "The model's answers vary, so its features are no function of the image."
        if not probe.symptoms and not self.always:
            return "No earlier check found anything, so that this one was spared."
        return "" if probe.has_gradient else "No gradient reaches the pixels."

    @staticmethod
    def _report(probe: Probe, by_gradient: int, by_chance: int, total: int) -> CheckReport:
        sentence = (
            f"With a head for which an adversarial example surely exists, the gradient found one "
            f"for {of(by_gradient, total)}, random points for {by_chance}."
        )
        measured = Measurement(
            name="success of the binarization test",
            value=by_gradient / total,
            ci95=clopper_pearson(by_gradient, total),
            samples=total,
            method="PGD through the model's features",
            norm=probe.ball.norm.name,
            epsilon=probe.ball.epsilon,
        )
        if bounds(by_gradient, total)[1] >= _LOW or by_chance >= _EASY * total:
            return CheckReport(sentence, measurements=(measured,))
        symptom = Symptom(
            family="binarization",
            title="The gradient misses adversarial examples that surely exist",
            remedy="repair the gradient before the last layer (BPDA, EOT), or attack without it",
            evidence=(sentence,),
        )
        return CheckReport(sentence, (symptom,), (measured,))


def last_linear(probe: Probe, rows: torch.Tensor) -> nn.Linear | None:
    """The linear layer that the model ends in; None if it does not, or is called twice."""
    from torch import nn

    model, called = probe.surrogate.model, []
    layers = [layer for layer in model.module.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda m, i, o: called.append((m, o))) for layer in layers]
    try:
        with torch.no_grad():
            model.logits(probe.x[rows])
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        return None
    layer, out = called[-1]
    once = sum(one is layer for one, _ in called) == 1
    return layer if once and out.shape == (len(rows), probe.classes) else None


@dataclass
class _Test:
    """One binary head for each image."""

    probe: Probe
    layer: nn.Linear
    rows: torch.Tensor

    def __post_init__(self) -> None:
        ball = self.probe.ball
        self.ball = type(ball)(ball.norm, ball.epsilon, self.probe.x[self.rows])

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F) what the last layer is given for `x`."""
        seen: list[torch.Tensor] = []
        hook = self.layer.register_forward_hook(lambda m, given, out: seen.append(given[0]))
        model = self.probe.surrogate.model
        try:
            model.logits(x)
        finally:
            hook.remove()
        return seen[-1]

    def fit(self, inner: int) -> int:
        """Fit the heads; images whose points cannot be told apart are dropped. Returns the rest."""
        noise = self.probe.noise("heads", self.rows)
        x0, norm = self.ball.x0, self.ball.norm
        with torch.no_grad():
            direction = noise.named("boundary").normal(*x0.shape[1:])
            edge = self.ball.project(self.ball.steepest(x0, direction, self.ball.epsilon))
            points = [edge, x0]
            for i in range(inner - 1):
                points.append(norm.sample(x0, _INNER * self.ball.epsilon, noise.named(str(i))))
            f = torch.stack([self.features(one).double() for one in points], 1)  # (m, 1 + inner, F)
        self.w, self.b, separated = separating_heads(f)
        keep = separated.nonzero().flatten()
        self.w, self.b, self.rows = self.w[keep], self.b[keep], self.rows[keep]
        self.ball = type(self.ball)(norm, self.ball.epsilon, x0[keep])
        return len(keep)

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """(m,) positive where an image is taken for the point on the boundary."""
        return (self.features(x).double() * self.w).sum(1) + self.b

    def attack(self, steps: int) -> int:
        """How many images the gradient leads across, by PGD from a random start."""
        x0, ball = self.ball.x0, self.ball
        x = ball.sample(self.probe.noise("start", self.rows))
        won = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        for step in range(steps + 1):
            with torch.enable_grad():
                point = x.detach().requires_grad_(True)
                score = self.score(point)
                won |= score > 0
                if step == steps or not score.requires_grad:
                    break
                (slope,) = torch.autograd.grad(score.sum(), point)
            self.probe.victim.passes.backwards += len(x0)
            length = 2 * ball.epsilon * (1 - step / steps)
            x = ball.project(ball.steepest(x.detach(), slope.nan_to_num(0.0, 0.0, 0.0), length / 4))
        return int(won.sum())

    def chance(self, draws: int) -> int:
        """How many images a random point of the ball, corners included, leads across."""
        x0, ball = self.ball.x0, self.ball
        won = torch.zeros(len(x0), dtype=torch.bool, device=x0.device)
        noise = self.probe.noise("chance", self.rows)
        for i in range(draws):
            drawn = noise.named(str(i))
            if i % 2:
                corner = drawn.normal(*x0.shape[1:])
                x = ball.project(ball.steepest(x0, corner, ball.epsilon))
            else:
                x = ball.sample(drawn)
            with torch.no_grad():
                won |= self.score(x) > 0
        return int(won.sum())


def separating_heads(f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heads (w (m, F), b (m,)) that tell f[:, 0] from the others, and whether they do, (m,).

    The widest gap: w points to f[:, 0] from the nearest point p of the others' convex hull, which
    is found by the steps of Frank & Wolfe; the threshold lies in the middle.
    """
    edge, inner = f[:, 0], f[:, 1:]
    p = inner.mean(1)
    for _ in range(_FITTED):
        nearest = torch.einsum("mpf,mf->mp", inner, edge - p).argmax(1)
        ahead = inner[torch.arange(len(f), device=f.device), nearest] - p
        length = ahead.square().sum(1).clamp(min=torch.finfo(f.dtype).tiny)
        step = ((edge - p) * ahead).sum(1) / length
        p = p + step.clamp(0, 1)[:, None] * ahead
    w = edge - p
    w = w / w.norm(dim=1, keepdim=True).clamp(min=torch.finfo(f.dtype).tiny)
    low, high = torch.einsum("mpf,mf->mp", inner, w).amax(1), (edge * w).sum(1)
    return w, -(low + high) / 2, high > low
