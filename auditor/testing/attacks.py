"""The properties of attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from auditor.attacking.lanes import tensors
from auditor.maths.norms import Ball, Norm
from auditor.maths.randomness import Noise
from auditor.protocols.attack import GRADIENT, AttackSpec, Observation, Task, wishes_of
from auditor.testing.models import BROKEN_KINDS, Broken
from auditor.testing.offered import Offered
from auditor.testing.property import Violation
from auditor.testing.run import Run, Setting, crash, run_in, smooth, unbroken

_SAME = 1e-6
_OUTCOMES = ("broken", "margin", "loss", "adversarial")


class AttackTrial:
    """An attack, and what was seen of it so far."""

    def __init__(self, offered: Offered) -> None:
        assert isinstance(offered.spec, AttackSpec)
        self.offered, self.spec = offered, offered.spec

    @cached_property
    def norms(self) -> list[Norm]:
        """The norms that it declares."""
        known = self.offered.registry.norms
        return [known[name] for name in sorted(self.spec.norms) if name in known]

    @property
    def composite(self) -> bool:
        """Whether it is made of stages."""
        return self.spec.kind == "stages"

    @property
    def loops(self) -> bool:
        """Whether how far it goes is its own: a composite, or an attack that keeps its own loop."""
        return self.spec.kind != "steps"

    @cached_property
    def runs(self) -> list[Run]:
        """In every norm and precision, on images of which some fall."""
        return [run_in(self.offered.made, smooth(norm, dtype=dtype)) for norm in self.norms
                for dtype in (torch.float32, torch.float64)]  # fmt: skip

    @cached_property
    def known(self) -> dict[str, Violation]:
        """The first violation of each property on the runs."""
        found: dict[str, Violation] = {}
        for visit in self.runs:
            for name, violation in visit.record.violations.items():
                found.setdefault(name, violation)
        return found

    @property
    def stands(self) -> bool:
        """Whether it can be run at all, so that runs can be compared."""
        return not {"runs", "protocol"} & self.known.keys()

    def elsewhere(self, name: str, where: str, settings: Iterator[Setting]) -> Violation | None:
        """What goes wrong on these settings alone, as a violation of the property `name`."""
        for setting in settings:
            for found in run_in(self.offered.made, setting).record.violations.values():
                if found.property not in self.known and self.stands:
                    seen = f"{where}: {found.seen} ({found.property})"
                    return replace(found, property=name, seen=seen)
        return None


Look = Callable[[AttackTrial], Violation | None]


def described(trial: AttackTrial) -> Violation | None:
    """It has a docstring, a reference, known norms, its own name; parameters have meanings."""
    spec, registry = trial.spec, trial.offered.registry
    missing = [one.name for one in spec.parameters if not one.doc]
    unknown = sorted(spec.norms - registry.norms.keys())
    taken = registry.attacks.get(spec.name)
    owner = registry.origins.get(("attacks", spec.name))
    faults = [
        (not spec.summary or spec.summary.startswith(f"{spec.cls.__name__}("), "no docstring",
         "the class needs one: its first line is what `auditor list attacks` shows"),
        (not spec.reference, "no reference", 'name the paper: @attack(reference="arXiv:...")'),
        (bool(missing), f"parameters without a meaning: {', '.join(missing)}",
         "declare them with param(default, \"what it is for\")"),
        (bool(unknown) or not spec.norms, f"norms that nobody knows: {unknown}",
         f"known are {', '.join(sorted(registry.norms))}"),
        (taken is not None and taken.cls.__qualname__ != spec.cls.__qualname__,
         f"the name {spec.name!r} is taken by plugin {owner}",
         "choose another name"),
    ]  # fmt: skip
    for wrong, seen, cause in faults:
        if wrong:
            return Violation("described", seen, "what a report and a user need to know", cause)
    return None


def _on_tour(name: str) -> Look:
    return lambda trial: trial.known.get(name)


def seen_to_hold(name: str, look: Look) -> Look:
    """`look`, which fails as well where the attack never ran, so that there was nothing to see."""

    def looked(trial: AttackTrial) -> Violation | None:
        if not trial.norms:
            declared = ", ".join(sorted(trial.spec.norms)) or "none"
            known = ", ".join(sorted(trial.offered.registry.norms))
            return Violation(
                name,
                f"it was not run: of the norms it declares ({declared}), none is known",
                "a norm to run it in",
                f"known are {known}; a norm of your own is offered by the hook auditor_norms",
            )
        found = look(trial)
        if found is None and not trial.stands:
            fault = next(trial.known[one] for one in ("runs", "protocol") if one in trial.known)
            if name not in ("runs", "protocol"):
                seen = f"it was not seen to hold, for the attack does not run: {fault.seen}"
                return replace(fault, property=name, seen=seen)
        return found

    return looked


def empty_batch(trial: AttackTrial) -> Violation | None:
    """`start` and `step` take a batch without any image."""
    if not trial.stands or trial.composite:
        return None
    attack, wishes = trial.offered.made, wishes_of(trial.offered.made)
    for norm in trial.norms:
        setting = smooth(norm)
        x = setting.x[:0]
        none = torch.zeros(0, dtype=torch.int64)
        noise = Noise(0, ("empty",), none, none, none, x.dtype)
        task = Task(x, none, Ball(norm, setting.radius, x), none, noise, restart=none)
        try:
            state = attack.start(task)
            logits = x.new_zeros(0, 4) if wishes.points == 1 else x.new_zeros(0, wishes.points, 4)
            slope = state.x if not wishes.jacobian else x.new_zeros(0, 4, *x.shape[1:])
            seen = Observation(
                logits, logits[..., 0], slope if trial.spec.needs == GRADIENT else None
            )
            if attack.steps:
                state = attack.step(task, state, seen)
        except Exception as error:
            cause = "a reduction such as .max() over the batch, or row 0 of it: guard by len(x)"
            return replace(crash(error), property="empty-batch", cause=cause)
        if any(len(tensor) for tensor in tensors(state).values()):
            seen_ = f"states of shapes {[tuple(one.shape) for one in tensors(state).values()]}"
            return Violation("empty-batch", seen_, "no row at all", "rows come from nowhere")
    return None


def classes(trial: AttackTrial) -> Violation | None:
    """It works with 2, 3 and 100 classes."""
    for count in (2, 3, 100):
        settings = (smooth(norm, classes=count, images=4) for norm in trial.norms)
        if found := trial.elsewhere("classes", f"with {count} classes", settings):
            return found
    return None


def image_shapes(trial: AttackTrial) -> Violation | None:
    """It works on images with H ≠ W, of 1 and of 3 channels."""
    for shape in ((1, 5, 8), (3, 8, 5), (3, 6, 6)):
        settings = (smooth(norm, shape=shape, images=4) for norm in trial.norms)
        if found := trial.elsewhere("image-shapes", f"on images {shape}", settings):
            return found
    return None


def non_finite(trial: AttackTrial) -> Violation | None:
    """On a model of NaN or infinite scores or gradients it stays in ball and box."""
    for kind in BROKEN_KINDS:
        usual = (unbroken(smooth(norm, images=12)) for norm in trial.norms)
        settings = (
            replace(one, searched=Broken(one.searched, kind)) for one in usual if one.searched
        )
        if found := trial.elsewhere("non-finite", f"on a model with {kind}", settings):
            return found
    return None


def repeatable(trial: AttackTrial) -> Violation | None:
    """The same seed gives the same points."""
    if not trial.stands:
        return None
    for first in trial.runs:
        again = run_in(trial.offered.made, first.setting)
        difference = _difference(first, again)
        if difference:
            return Violation(
                "repeatable",
                f"the same run, twice: {difference}",
                "the same points, bit by bit",
                "it draws random numbers of its own (an unseeded generator, a set's order, the "
                "clock), or remembers something from run to run: draw from "
                'task.noise("a purpose"), and keep what it remembers in its State',
            )
    return None


def _difference(first: Run, again: Run) -> str:
    pairs = zip(first.record.calls, again.record.calls, strict=False)
    for number, (one, other) in enumerate(pairs):
        if not torch.equal(one.x, other.x):
            return f"other points from call {number} on"
    if len(first.record.calls) != len(again.record.calls):
        return "another number of calls"
    return ""


def seed(trial: AttackTrial) -> Violation | None:
    """Where it draws random numbers, the seed matters; and so does the restart."""
    if not trial.stands:
        return None
    offered = trial.offered
    restarts = offered.has("restarts")
    attack = offered.variant(restarts=2) if restarts else offered.made
    for norm in trial.norms:
        setting = unbroken(smooth(norm, images=24))
        one, other = run_in(attack, setting), run_in(attack, replace(setting, seed=1))
        if one.record.draws and not _difference(one, other):
            return Violation(
                "seed",
                f"it draws from task.noise, and seeds 0 and 1 give the same points ({norm.name})",
                "other points for another seed",
                "what it draws is not used, or overwritten before it is evaluated",
            )
        if restarts and not trial.composite and _restart_repeats(one):
            return Violation(
                "seed",
                f"its second restart repeats the first, point by point ({norm.name})",
                "restarts that start elsewhere: their cost is the user's",
                "the start does not depend on seed and restart: draw it from "
                'task.noise("start"), as in task.ball.sample(task.noise("start"))',
            )
    return None


def _restart_repeats(run: Run) -> bool:
    lanes = run.record.by_lane()
    pairs = [(x, lanes.get((image, 1, step))) for (image, restart, step), x in lanes.items()
             if restart == 0]  # fmt: skip
    return bool(pairs) and all(two is not None and torch.equal(one, two) for one, two in pairs)


def batch(trial: AttackTrial) -> Violation | None:
    """What happens to an image depends on no other image, whatever shares its batch."""
    if not trial.stands:
        return None
    for norm in trial.norms:
        setting = smooth(norm)
        n = len(setting.x)
        others: dict[str, dict[str, Any]] = {
            "in reverse order": {"rows": tuple(reversed(range(n)))},
            "with a batch size of 3": {"batch_size": 3},
        }
        if not trial.composite:  # a composite may look at all images to plan its stages
            others["alone"] = {"rows": (2,)}
        usual = run_in(trial.offered.made, setting)
        for name, change in others.items():
            again = run_in(trial.offered.made, replace(setting, **change))
            if difference := _by_image(usual, again):
                return Violation(
                    "batch",
                    f"{name}, {difference} ({norm.name}, float64)",
                    "the same for each image, whatever shares its batch, in whatever order",
                    "a number is taken over the whole batch (mean(), norm(), max() without dim; "
                    "row 0; task.step[0], which differs from image to image), or random numbers "
                    "depend on the position in the batch: reduce with .flatten(1) and dim=1, and "
                    'draw from task.noise("a purpose")',
                )
    return None


def _by_image(usual: Run, again: Run) -> str:
    """How the images of `again` fared otherwise than in `usual`."""
    if usual.outcome is None or again.outcome is None:
        return "it fails"
    place = {image: row for row, image in enumerate(usual.setting.block().image.tolist())}
    for row, image in enumerate(again.setting.block().image.tolist()):
        for name in _OUTCOMES:
            one = getattr(usual.outcome, name)[place[image]].double()
            other = getattr(again.outcome, name)[row].double()
            if not torch.allclose(one, other, rtol=_SAME, atol=_SAME, equal_nan=True):
                far = (one - other).nan_to_num(torch.inf).abs().max().item()
                return f"the {name} of image {place[image]} differs by {far:.3g}"
    return ""


PROPERTIES: dict[str, tuple[str, Look]] = {
    "described": ((described.__doc__ or ""), described),
    "runs": ("It raises nothing, in every norm it declares, in float32 and float64.",
             _on_tour("runs")),
    "protocol": ("It returns a State whose x has shape, type and device of task.x.",
                 _on_tour("protocol")),
    "state-rows": ("Every field of its State is a tensor with one row per image.",
                   _on_tour("state-rows")),
    "finite": ("It proposes no NaN and no infinity.", _on_tour("finite")),
    "ball": ("Every point lies in the ball.", _on_tour("ball")),
    "box": ("Every pixel lies in [0, 1].", _on_tour("box")),
    "inputs": ("It changes nothing that it is given.", _on_tour("inputs")),
    "model": ("It does not change the model: parameters, buffers, mode, requires_grad.",
              _on_tour("model")),
    "global-state": ("It neither reads nor changes the random numbers of torch, NumPy and Python.",
                     _on_tour("global-state")),
    "repeatable": ((repeatable.__doc__ or ""), repeatable),
    "seed": ((seed.__doc__ or ""), seed),
    "batch": ((batch.__doc__ or ""), batch),
    "empty-batch": ((empty_batch.__doc__ or ""), empty_batch),
    "classes": ((classes.__doc__ or ""), classes),
    "image-shapes": ((image_shapes.__doc__ or ""), image_shapes),
    "non-finite": ((non_finite.__doc__ or ""), non_finite),
}  # fmt: skip
