"""What becomes of the model, its verdicts and attacks on it in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from auditor_plugins.apgd import APGD

from auditor.api import (
    CheckReport,
    Measurement,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    Victim,
    check,
    param,
)

from .costs import spent, summed
from .measuring import (
    ball_around,
    direction,
    logits_of,
    share,
    slope,
    some,
    some_survivors,
)
from .survivors import bounds, of, split

#: A model deployed in half precision whose verdicts certainly change on more than this needs care.
_CHANGED = 0.01
#: Images on which every layer is compared, and how many layers are told.
_LAYER_IMAGES, _TOLD = 8, 3
#: In either type; beside these the error of each layer that loses most.
_MEASURED = (
    *(f"pixels a step of {step} leaves as they are"
      for step in ("epsilon", "epsilon / 4", "epsilon / 10", "1/255")),
    "overshoot of the ball",
    "entries of the gradient lost",
    "gradients lost",
    "scores not finite",
    "clean answers that change",
    "adversarial examples whose verdict changes",
)  # fmt: skip


@dataclass
class _Findings:
    """What was seen of one type."""

    name: str
    measurements: list[Measurement] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    #: Why the verdicts in this type need care.
    care: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)


@check(
    name="half-precision",
    reference="IEEE 754-2019 (binary16); Micikevicius et al. 2018, arXiv:1710.03740 (underflow of "
    "gradients in half precision)",
    measures=[f"{name}: {what}" for name in ("float16", "bfloat16") for what in _MEASURED],
)
@dataclass(frozen=True)
class HalfPrecision:
    """The model in float16 and bfloat16 against float32.

    How much of an attack's steps the rounding of pixels swallows and how far it carries images out
    of the ball, which gradients underflow, which verdicts change, and which layers overflow or lose
    most, so that these can be kept in float32. A symptom only for a model that is deployed in half
    precision and whose verdicts change.
    """

    images: PositiveInt = param(32, "images that are looked at")
    gradients: PositiveInt = param(16, "images whose gradients are compared")
    examples: PositiveInt = param(16, "broken images whose examples are judged again")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n, few = min(self.images, images), self.gradients + self.examples
        made = spent(APGD(steps=10, loss="margin"), min(self.examples, images), classes)
        return summed((4 * (n + few) + 2 * _LAYER_IMAGES, 4 * self.gradients), made)

    def run(self, probe: Probe) -> CheckReport:
        """Both types, one after the other."""
        examples = self._examples(probe)
        base = _in_float32(probe)
        found = []
        for dtype in (torch.float16, torch.bfloat16):
            one = _Findings(str(dtype).removeprefix("torch."))
            self._rounding(probe, dtype, one)
            try:
                self._model(probe, base, dtype, one, examples)
            except Exception as error:  # the user's code, or the device, may not know the type
                one.told.append(f"it cannot be run ({type(error).__name__})")
            found.append(one)
        sentence = "; ".join(f"in {one.name} {', '.join(one.told)}" for one in found)
        sentence = sentence[0].upper() + sentence[1:] + "."
        symptoms = tuple(
            _symptom(one)
            for one in found
            if one.care and probe.victim.precision == getattr(torch, one.name)
        )
        measured = tuple(one for findings in found for one in findings.measurements)
        return CheckReport(sentence, symptoms, measured)

    def _examples(self, probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
        """Adversarial examples, made again for a few images that have fallen, and their labels."""
        rows = split(probe.fallen().nonzero().flatten(), self.examples)[0]
        if not probe.has_gradient or not len(rows):
            return probe.x[:0], probe.y[:0]
        attempt = probe.attack("examples", APGD(steps=10, loss="margin"), rows)
        return attempt.adversarial[attempt.broken], probe.y[rows][attempt.broken]

    def _rounding(self, probe: Probe, dtype: torch.dtype, found: _Findings) -> None:
        """What rounding the pixels does to steps and to the ball."""
        rows = some(probe, self.images)
        x, epsilon = probe.x[rows], probe.ball.epsilon
        ball, way = ball_around(probe, x), direction(probe, probe.noise("way", rows))
        steps = {"epsilon": epsilon, "epsilon / 4": epsilon / 4, "epsilon / 10": epsilon / 10}
        if probe.ball.norm.name == "linf":
            steps["1/255"] = 1 / 255
        lost = {}
        for name, length in steps.items():
            step = ball.steepest(x, way, length) - x
            moved = step != 0
            stays = ((x.to(dtype) + step.to(dtype)) == x.to(dtype)) & moved
            lost[name] = float(stays.sum() / moved.sum().clamp(min=1))
            found.measurements.append(
                Measurement(f"{found.name}: pixels a step of {name} leaves as they are", lost[name],
                            None, int(moved.sum()), "computed in that type", ball.norm.name, length)
            )  # fmt: skip
        edge = ball.project(ball.steepest(x, way, epsilon))
        over = (ball.distance(edge.to(dtype).to(x.dtype)) - epsilon).amax().item()
        found.measurements.append(
            Measurement(f"{found.name}: overshoot of the ball", 255 * max(over, 0), None, len(rows),
                        "largest distance beyond epsilon after rounding, in units of 1/255",
                        ball.norm.name, epsilon)
        )  # fmt: skip
        found.told.append(
            f"steps of epsilon / 10 leave {lost['epsilon / 10']:.0%} of the pixels as they are"
        )
        found.told.append(f"rounding leaves the ball by {255 * max(over, 0):.2g}/255")

    def _model(
        self,
        probe: Probe,
        base: Surrogate,
        dtype: torch.dtype,
        found: _Findings,
        examples: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """Gradients, verdicts and layers of the model in that type."""
        half = probe.surrogate.in_precision(dtype)
        rows = some(probe, self.images)
        exact, coarse = (logits_of(one.model, probe.x[rows]) for one in (base, half))
        _compare_scores(probe, exact, coarse, found)
        if not probe.random:
            _compare_examples(probe, base, half, found, examples)
        self._layers(base.model, half.model, probe.x[rows[:_LAYER_IMAGES]], found)
        if probe.has_gradient:
            self._gradients(probe, base, half, found)

    def _gradients(self, probe: Probe, base: Surrogate, half: Surrogate, found: _Findings) -> None:
        rows = some_survivors(probe, self.gradients)
        rows = rows if len(rows) else some(probe, self.gradients)
        x, y = probe.x[rows], probe.y[rows]
        exact = slope(probe, base, x, y, loss="cross-entropy").flatten(1)
        coarse = slope(probe, half, x, y, loss="cross-entropy").flatten(1)
        there = exact != 0
        gone = (coarse == 0) & there
        entries = float(gone.sum() / there.sum().clamp(min=1))
        images = int(((coarse == 0).all(1) & there.any(1)).sum())
        found.measurements += [
            Measurement(f"{found.name}: entries of the gradient lost", entries, None,
                        int(there.sum()), "zero there and not in float32, cross-entropy"),
            share(f"{found.name}: gradients lost", images, len(rows),
                  "zero everywhere and not in float32, cross-entropy", probe),
        ]  # fmt: skip
        found.told.append(f"{entries:.0%} of the gradient's entries underflow")
        if bounds(images, len(rows))[0] > _CHANGED:
            found.care.append(f"the gradient underflows on {of(images, len(rows))}")

    def _layers(self, base: Victim, half: Victim, x: torch.Tensor, found: _Findings) -> None:
        """Layers that overflow, then those that lose most on the same input."""
        errors = layer_errors(base, half, x)
        overflow = [name for name, error in errors.items() if error == float("inf")]
        finite = {name: error for name, error in errors.items() if name not in overflow}
        found.layers = overflow + sorted(finite, key=finite.__getitem__, reverse=True)[:_TOLD]
        for name in found.layers:
            found.measurements.append(
                Measurement(f"{found.name}: error of {name}", min(errors[name], 1e30), None, len(x),
                            "relative to the same layer in float32 on the same input")
            )  # fmt: skip
        if overflow:
            verb = "overflows" if len(overflow) == 1 else "overflow"
            found.told.append(f"{', '.join(overflow[:_TOLD])} {verb}")
        elif finite:
            found.told.append(f"{found.layers[0]} loses most ({finite[found.layers[0]]:.1g})")


def _in_float32(probe: Probe) -> Surrogate:
    """What half precision is compared with."""
    try:
        return probe.surrogate.in_precision(torch.float32)
    except Exception:  # a model that cannot be copied is compared with itself
        return probe.surrogate


def _compare_scores(
    probe: Probe, exact: torch.Tensor, coarse: torch.Tensor, found: _Findings
) -> None:
    """Scores (B, K) that are no longer finite, and answers to clean images that change."""
    total = len(exact)
    overflow = int((~coarse.isfinite().all(1) & exact.isfinite().all(1)).sum())
    found.measurements.append(
        share(f"{found.name}: scores not finite", overflow, total, "finite in float32", probe)
    )
    if overflow:
        found.told.append(f"scores overflow on {of(overflow, total)}")
        found.care.append(found.told[-1])
    if probe.random:
        return
    changed = int((exact.argmax(1) != coarse.argmax(1)).sum())
    found.measurements.append(
        share(f"{found.name}: clean answers that change", changed, total, "against float32", probe)
    )
    found.told.append(f"{changed} of {total} clean answers change")
    if bounds(changed, total)[0] > _CHANGED:
        found.care.append(f"{of(changed, total)} get another answer than in float32")


def _compare_examples(
    probe: Probe,
    base: Surrogate,
    half: Surrogate,
    found: _Findings,
    examples: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Verdicts on adversarial examples that change."""
    adversarial, y = examples
    if not len(y):
        return
    fooled = [logits_of(model.model, adversarial).argmax(1) != y for model in (base, half)]
    changed, total = int((fooled[0] != fooled[1]).sum()), len(y)
    found.measurements.append(
        share(f"{found.name}: adversarial examples whose verdict changes", changed, total,
              "against float32", probe, probe.ball.epsilon)
    )  # fmt: skip
    found.told.append(f"{changed} of {total} verdicts on adversarial examples change")
    if bounds(changed, total)[0] > _CHANGED:
        found.care.append(f"{of(changed, total)} adversarial examples get another verdict")


def _symptom(found: _Findings) -> Symptom:
    layers = f": {', '.join(found.layers[:5])}" if found.layers else ""
    return Symptom(
        family="contract",
        title=f"Verdicts of the model in {found.name} are not those in float32",
        remedy="search for examples in float32 and judge them in the deployed type; keep layers "
        f"that overflow or lose most in float32{layers}",
        evidence=tuple(found.care),
        kind="other",
    )


def layer_errors(base: Victim, half: Victim, x: torch.Tensor) -> dict[str, float]:
    """The largest relative error of each layer (module without parts) in half precision.

    Each layer in half precision is given what the layer of `base` is given, so that an error is its
    own. Infinite where the result is no longer finite.
    """
    twins = dict(half.module.named_modules())
    errors: dict[str, float] = {}

    def compare(name: str, args: tuple[Any, ...], out: Any) -> None:
        if not isinstance(out, torch.Tensor) or not out.is_floating_point():
            return
        if not all(isinstance(one, torch.Tensor) and one.is_floating_point() for one in args):
            return
        coarse = twins[name].forward(*(one.to(half.precision) for one in args)).double()
        exact = out.double()
        size = exact.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)
        error = float(((coarse - exact).abs().amax() / size).nan_to_num(float("inf")))
        error = error if bool(coarse.isfinite().all()) else float("inf")
        if bool(exact.isfinite().all()):
            errors[name] = max(error, errors.get(name, 0.0))

    with _watched(base.module, compare), torch.no_grad():
        base.raw(x)
    return errors


@contextmanager
def _watched(module: torch.nn.Module, seen: Any) -> Iterator[None]:
    """`seen(name, arguments, result)` is called after every layer meanwhile."""
    handles = [
        part.register_forward_hook(lambda _, args, out, name=name: seen(name, args, out))
        for name, part in module.named_modules()
        if name and not any(part.children())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
