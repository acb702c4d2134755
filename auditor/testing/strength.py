"""The properties of attacks that are about what they achieve, and at what cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from auditor.maths.norms import Ball, Norm
from auditor.protocols.attack import GRADIENT, attack, wishes_of
from auditor.protocols.composite import Brief, Stage
from auditor.testing.attacks import AttackTrial
from auditor.testing.models import Linear, StrengthCurve, numbers, radius
from auditor.testing.property import Violation
from auditor.testing.run import Run, Setting, run_in

#: What has to be reached of the optimum: in one step, and in at least ten.
_ONE_STEP, _MANY_STEPS = 0.75, 0.9
_ENOUGH_STEPS = 10
#: By how many rungs of twenty noise may be ahead, by luck.
_LUCK = 2
#: Points of noise that a composite is compared with, and the most for any attack.
_COMPOSITE, _MOST_NOISE = 100, 5000


@dataclass(frozen=True)
class _StrengthRun:
    """A whole run on the curve."""

    norm: Norm
    curve: StrengthCurve
    epsilon: float
    run: Run

    def broken(self, most: float = 1.0) -> torch.Tensor:
        """(m,) bool, of the rungs up to `most`."""
        assert self.run.outcome is not None
        return self.run.outcome.broken[self.curve.rung <= most + 1e-9]


def _strength_runs(trial: AttackTrial) -> list[_StrengthRun]:
    """Whole runs in every norm; kept for the next property."""
    kept: list[_StrengthRun] | None = vars(trial).get("strength runs")
    if kept is None:
        kept = [_strength_run(trial, norm) for norm in trial.norms]
        vars(trial)["strength runs"] = kept
    return kept


def _strength_run(trial: AttackTrial, norm: Norm) -> _StrengthRun:
    epsilon = radius(norm, StrengthCurve.SHAPE)
    curve = StrengthCurve.for_norm(norm, epsilon)
    labels = torch.zeros(len(curve.x), dtype=torch.int64)
    setting = Setting(norm, curve.model, curve.x, labels, epsilon=epsilon, whole=True)
    return _StrengthRun(norm, curve, epsilon, run_in(trial.offered.made, setting))


def budget(trial: AttackTrial) -> Violation | None:
    """It takes no more evaluations than its steps, restarts, targets and points say, and ends."""
    if not trial.stands:
        return None
    offered = trial.offered
    if "passes" in trial.spec.has:
        passes = offered.made.passes(10)
        if not (isinstance(passes, tuple) and len(passes) == 2 and min(passes) >= 0):
            return Violation("budget", f"passes(10) gave {passes!r}", "two numbers, (forward, "
                             "backward)", "`auditor run --plan` prints them")  # fmt: skip
    elif queries := getattr(offered.made, "queries", None):
        wishes = wishes_of(offered.made)
        points = (offered.made.steps + 1) * wishes.points
        if points > queries:
            return Violation("budget", f"queries = {queries}, and {points} points are evaluated",
                             "no more points per restart than `queries`",
                             "the start is a point as well: steps = queries - 1")  # fmt: skip
    for strength in _strength_runs(trial):
        if found := strength.run.record.violations.get("budget"):
            return found
        if strength.run.passed > strength.run.counted:
            return Violation(
                "budget",
                f"{strength.run.passed} images went through the model, and the engine knows of "
                f"{strength.run.counted}",
                "every evaluation is the engine's, so that the report's cost is true",
                "it calls the model by itself: propose points in State.x and look at `seen`",
            )
    return None


def optimum(trial: AttackTrial) -> Violation | None:
    """On a linear model, whose best adversarial example is known, it comes near it."""
    if not trial.stands or trial.spec.needs != GRADIENT:
        return None
    steps = _ENOUGH_STEPS if trial.loops else trial.offered.made.steps
    needed = _MANY_STEPS if steps >= _ENOUGH_STEPS else _ONE_STEP
    for strength in _strength_runs(trial):
        if strength.run.outcome is None:
            return _failed(strength, "optimum")
        broken = strength.broken(needed)
        if not broken.all():
            reached = strength.curve.rung[: len(broken)][broken]
            best = reached.max().item() if len(reached) else 0.0
            return Violation(
                "optimum",
                f"of images that take at most {needed:.0%} of what is possible in the ball, "
                f"{int((~broken).sum())} of {len(broken)} withstood ({strength.norm.name}); the "
                f"hardest it broke takes {best:.0%}",
                f"all of them fall: logits are W x + b here, and the optimum is known "
                f"({steps} steps: {needed:.0%} of it suffice)",
                _why_weak(strength),
            )
    return None


def _why_weak(strength: _StrengthRun) -> str:
    if strength.run.record.moved == 0:
        return "it does nothing: every point it proposed is the clean image"
    if not strength.broken().any():
        return (
            "it walks the wrong way, or hardly moves: seen.gradient points to success (x + step, "
            "not x - step)"
        )
    return (
        "its steps together are too short (number x length has to exceed epsilon well), or not "
        "along the steepest direction of the norm: task.ball.steepest(x, seen.gradient, length)"
    )


def noise(trial: AttackTrial) -> Violation | None:
    """On a linear model it breaks at least what random points of the same number break."""
    if not trial.stands:
        return None
    for strength in _strength_runs(trial):
        if strength.run.outcome is None:
            return _failed(strength, "noise")
        points = _points(trial)
        by_noise = int((strength.curve.rung <= _noise_reaches(strength, points)).sum())
        broken = int(strength.broken().sum())
        if broken < by_noise - _LUCK:
            return Violation(
                "noise",
                f"{points} random points of the ball break {by_noise} of {len(strength.broken())} "
                f"images, and the attack {broken} ({strength.norm.name})",
                "at least as many as noise of the same number of evaluations",
                _why_weak(strength) if strength.run.record.moved == 0 or not broken else
                "it keeps to a small part of the ball, or does not keep what it finds",
            )  # fmt: skip
    return None


def _points(trial: AttackTrial) -> int:
    """How many points the attack evaluates on an image that withstands."""
    if trial.loops:
        return _COMPOSITE
    made, wishes = trial.offered.made, wishes_of(trial.offered.made)
    return min(_MOST_NOISE, wishes.restarts * wishes.points * (int(made.steps) + 1))


def _noise_reaches(strength: _StrengthRun, points: int) -> torch.Tensor:
    """(n,) the part of the optimum that the best of `points` random points reaches.

    Half of them come from the inside of the ball, half are the extreme points of random directions.
    """
    curve, best = strength.curve, []
    for row in range(len(curve.x)):
        x0 = curve.x[row : row + 1].expand(points, *curve.SHAPE)
        ball = Ball(strength.norm, strength.epsilon, x0)
        drawn = numbers(points, purpose=f"noise {row}")
        corners = ball.steepest(x0, drawn.named("corner").normal(*curve.SHAPE), strength.epsilon)
        inside = ball.sample(drawn.named("inside"))
        odd = (torch.arange(points) % 2 == 1).view(-1, 1, 1, 1)
        x = torch.where(odd, ball.project(corners), inside)
        best.append(((x - x0).flatten(1) @ curve.direction).max() / curve.gain[row])
    return torch.stack(best)


def _failed(strength: _StrengthRun, name: str) -> Violation:
    (found, *_) = strength.run.record.violations.values()
    return replace(found, property=name)


def targets(trial: AttackTrial) -> Violation | None:
    """Aimed at a class, it comes nearer to that class than aimed at another."""
    if not trial.stands or trial.loops:
        return None
    made = trial.offered.made
    if trial.offered.has("targets"):
        made = trial.offered.variant(targets=2)
    if not wishes_of(made).targets:
        return None
    for norm in trial.norms:
        reach = {aim: _reach(made, norm, aim) for aim in (1, 2)}
        towards = reach[1][1] - reach[2][1] + reach[2][2] - reach[1][2]
        possible = reach[1][0] + reach[2][0]
        if not bool((towards.mean() > 0.05 * possible.mean()).all()):
            return Violation(
                "targets",
                f"aimed at class 1 and aimed at class 2 it comes equally near to both "
                f"({norm.name})",
                "an attack with `targets` goes where task.target says",
                "task.target is not used where a direction, a class or a loss is chosen: use it, "
                "or leave `targets` out (seen.loss and seen.gradient already aim at the target)",
            )
    return None


def _reach(made: Any, norm: Norm, aim: int) -> dict[int, torch.Tensor]:
    """(n,) how much nearer than the clean image it comes to class 1 and 2; 0: what is possible."""
    shape = (1, 6, 7)
    rows = numbers(4, purpose="classes").normal(42)
    model = Linear(rows, rows.new_tensor([100.0, 0, 0, -50]) - 0.5 * rows.sum(1))
    x = 0.3 + 0.4 * numbers(6, purpose="aims").uniform(*shape)
    labels = torch.zeros(len(x), dtype=torch.int64)
    setting = Setting(norm, model, x, labels)
    run = run_in(_aimed(made, aim), setting)
    best: dict[int, torch.Tensor] = {}
    for k in (1, 2):
        w = rows[k] - rows[0]
        best[k] = torch.stack(
            [_gain(call.x, x, w) for call in run.record.calls if len(call.x) == len(x)]
        ).amax(0)
    slope = (rows[aim] - rows[0]).view(1, *shape).expand_as(x)
    best[0] = _gain(norm.steepest(x, slope, setting.radius), x, rows[aim] - rows[0])
    return best


def _gain(x: torch.Tensor, x0: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """(n,) the largest <w, x - x0> over the points of each image."""
    points = x.reshape(len(x0), -1, x0[0].numel())
    return ((points - x0.flatten(1)[:, None]) @ w).amax(1)


def _aimed(made: Any, aim: int) -> Any:
    """A composite of the attack alone, aimed at one class."""

    @attack(name="aimed", norms={"linf"}, needs=GRADIENT, reference="")
    class Aimed:
        def stages(self, brief: Brief) -> Any:
            image = torch.arange(len(brief.y))
            yield Stage("aimed", made, image, target=torch.full_like(image, aim))

    return Aimed()


PROPERTIES = {
    "budget": (budget.__doc__ or "", budget),
    "optimum": (optimum.__doc__ or "", optimum),
    "noise": (noise.__doc__ or "", noise),
    "targets": (targets.__doc__ or "", targets),
}
