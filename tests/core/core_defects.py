"""One honest attack, and attacks like it with one planted defect each."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch

from auditor.api import GRADIENT, PositiveInt, Stage, State, attack, hookimpl, param
from auditor.testing.models import Smooth

defects: dict[str, tuple[str, str, type]] = {}


def named(cls: type, **options: Any) -> type:
    options = {"name": "mine", "norms": {"linf"}, "needs": GRADIENT, "reference": "none", **options}
    return attack(**options)(cls)


def defect(what: str, prop: str, message: str, **options: Any):
    """Plant a defect: the property that must fail, and what its message must say."""

    def plant(cls: type) -> type:
        cls = named(dataclass(frozen=True)(cls), **options)
        defects[what] = (prop, message, cls)
        return cls

    return plant


def plugin(cls: type) -> ModuleType:
    """A module that offers the class."""
    module = ModuleType("plugin_of_the_tests")
    module.auditor_attacks = hookimpl(specname="auditor_attacks")(lambda: [cls])
    return module


@dataclass(frozen=True)
class Honest:
    """Steepest steps from a random start."""

    steps: PositiveInt = param(12, "gradient steps")
    restarts: PositiveInt = param(1, "random starts")

    def start(self, task):
        return State(task.ball.sample(task.noise("start")))

    def step(self, task, state, seen):
        length = task.ball.epsilon / 4
        return State(task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


named(Honest)


def per_image(column):
    return column[:, None, None, None]


@defect("outside the ball", "ball", "task.ball.project")
class OutsideBall(Honest):
    """Mine."""

    def step(self, task, state, seen):
        return State((state.x + task.ball.epsilon * seen.gradient.sign()).clamp(0, 1))


@defect("outside the box", "box", "every pixel in [0, 1]")
class OutsideBox(Honest):
    """Mine."""

    def step(self, task, state, seen):
        return State(task.x + task.ball.epsilon * seen.gradient.sign())


@defect("mutates the images", "inputs", "`task.x` was changed in place")
class MutatesX(Honest):
    """Mine."""

    def start(self, task):
        return State(task.x)

    def step(self, task, state, seen):
        state.x += task.ball.epsilon * seen.gradient.sign()
        return State(state.x.clamp(0, 1))


@defect("mutates the gradient", "inputs", "`seen.gradient` was changed in place")
class MutatesGradient(Honest):
    """Mine."""

    def step(self, task, state, seen):
        seen.gradient.sign_()
        return super().step(task, state, seen)


class GlobalNumbers(Honest):
    """Mine."""

    draw: ClassVar[Any]

    def start(self, task):
        u = type(self).draw(task.x)
        return State(task.ball.project(task.x + task.ball.epsilon * (2 * u - 1)))


@defect("reads torch's generator", "global-state", "torch's global generator (torch.rand")
class ReadsTorch(GlobalNumbers):
    """Mine."""

    draw = staticmethod(torch.rand_like)


@defect("reads NumPy's generator", "global-state", "NumPy's global generator (np.random)")
class ReadsNumPy(GlobalNumbers):
    """Mine."""

    draw = staticmethod(lambda x: x * 0 + torch.from_numpy(np.random.rand(*x.shape)).to(x))


@defect("reads Python's generator", "global-state", "Python's global generator")
class ReadsPython(GlobalNumbers):
    """Mine."""

    draw = staticmethod(lambda x: x * 0 + random.random())


@defect("seeds torch", "global-state", "used or seeded")
class Seeds(Honest):
    """Mine."""

    def start(self, task):
        torch.manual_seed(0)
        return super().start(task)


@defect("switches gradients off", "global-state", "torch's switches")
class SwitchesGradients(Honest):
    """Mine."""

    def start(self, task):
        torch.set_grad_enabled(False)
        return super().start(task)


@defect("draws from the system", "repeatable", "random numbers of its own")
class Unrepeatable(GlobalNumbers):
    """Mine."""

    draw = staticmethod(lambda x: torch.from_numpy(np.random.default_rng().random(x.shape)).to(x))


@defect("ignores the seed", "seed", "seeds 0 and 1 give the same points")
class IgnoresSeed(Honest):
    """Mine."""

    def start(self, task):
        task.noise("start").uniform(*task.x.shape[1:])
        return State(task.x)


@defect("repeats its restarts", "seed", "second restart repeats the first")
class RepeatsRestarts(Honest):
    """Mine."""

    def start(self, task):
        return State(task.x)


@defect("leaks across the batch", "batch", "a number is taken over the whole batch")
class Leaks(Honest):
    """Mine."""

    def step(self, task, state, seen):
        mean = seen.gradient.mean(0, keepdim=True)
        moved = task.ball.steepest(state.x, seen.gradient - mean, task.ball.epsilon / 4)
        return State(task.ball.project(moved))


@defect("takes the first image's step for all", "batch", "task.step[0], which differs")
class FirstStep(Honest):
    """Mine."""

    def step(self, task, state, seen):
        length = task.ball.epsilon / (1 + int(task.step[0]))
        return State(task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


@defect("numbers by the place in the batch", "batch", "position in the batch")
class ByPlace(GlobalNumbers):
    """Mine."""

    draw = staticmethod(
        lambda x: torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    )


@defect("keeps the best of the wrong image", "ball", "rows were mixed up")
class WrongBest(Honest):
    """Mine."""

    def step(self, task, state, seen):
        new = super().step(task, state, seen)
        return State(new.x[seen.loss.argsort()])


@defect("returns NaN", "finite", "NaN or infinity")
class NaN(Honest):
    """Mine."""

    def start(self, task):
        return State(task.x * torch.nan)


@defect("divides by a gradient of zero", "non-finite", "clamp the divisor")
class DividesByZero(Honest):
    """Mine."""

    def step(self, task, state, seen):
        size = per_image(seen.gradient.flatten(1).norm(dim=1))
        return State(task.ball.project(state.x + task.ball.epsilon * seen.gradient / size))


def models():
    return [one for one in gc.get_objects() if type(one) is Smooth]


@defect("changes the model's mode", "model", "the mode (training or evaluation)")
class ChangesMode(Honest):
    """Mine."""

    def start(self, task):
        for model in models():
            model.train()
        return super().start(task)


@defect("changes the model's weights", "model", "the values of")
class ChangesWeights(Honest):
    """Mine."""

    def start(self, task):
        for model in models():
            model.last.bias.data += 1
        return super().start(task)


@defect("thaws the model", "model", "requires_grad of")
class Thaws(Honest):
    """Mine."""

    def start(self, task):
        for model in models():
            model.requires_grad_(True)
        return super().start(task)


@defect("calls the model", "budget", "it calls the model by itself")
class CallsModel(Honest):
    """Mine."""

    def step(self, task, state, seen):
        from auditor.testing.models import Counted

        for model in (one for one in gc.get_objects() if type(one) is Counted):
            # Models that other tests have left behind may want images of another shape.
            with torch.no_grad(), contextlib.suppress(RuntimeError):
                model(task.x)
        return super().step(task, state, seen)


@defect("exceeds its steps", "budget", "`steps` was")
class Growing(Honest):
    """Mine."""

    clock: ClassVar[Any] = itertools.count(5)

    @property
    def steps(self):
        return next(self.clock)

    @steps.setter
    def steps(self, value):
        pass


@defect("exceeds its queries", "budget", "the start is a point as well")
class ExceedsQueries(Honest):
    """Mine."""

    queries: PositiveInt = param(12, "points looked at")


@defect("never ends", "budget", "had not ended after")
class Endless:
    """Mine."""

    def stages(self, brief):
        while True:
            yield Stage("one", Honest(steps=1), torch.arange(0))

    def passes(self, classes):
        return 1, 1


@defect("does nothing", "optimum", "it does nothing")
class Nothing(Honest):
    """Mine."""

    def start(self, task):
        return State(task.x)

    def step(self, task, state, seen):
        return State(task.x)


@defect("descends", "optimum", "walks the wrong way")
class Descends(Honest):
    """Mine."""

    def step(self, task, state, seen):
        length = task.ball.epsilon / 4
        return State(task.ball.project(task.ball.steepest(state.x, -seen.gradient, length)))


@defect("hardly moves", "optimum", "steps together are too short")
class Short(Honest):
    """Mine."""

    def start(self, task):
        return State(task.x)

    def step(self, task, state, seen):
        length = task.ball.epsilon / 20
        return State(task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


@defect("is worse than noise", "noise", "random points of the ball break", needs="scores")
class Feeble:
    """Mine."""

    steps: PositiveInt = param(300, "points")

    def start(self, task):
        return State(task.x)

    def step(self, task, state, seen):
        u = 2 * task.noise("u").uniform(*task.x.shape[1:]) - 1
        return State(task.ball.project(task.x + 0.1 * task.ball.epsilon * u))


@defect("ignores its targets", "targets", "equally near to both")
class IgnoresTargets(Honest):
    """Mine."""

    targets: PositiveInt = param(2, "classes to aim at")
    jacobian: ClassVar[bool] = True

    def step(self, task, state, seen):
        slope = seen.gradient[:, 1] - seen.gradient[:, 0]
        return State(task.ball.project(task.ball.steepest(state.x, slope, task.ball.epsilon)))


@dataclass
class Scalar(State):
    length: Any = 0.0


@defect("a state without rows", "state-rows", "Scalar.length is float")
class FloatInState(Honest):
    """Mine."""

    def start(self, task):
        return Scalar(super().start(task).x, task.ball.epsilon)


@defect("a state of another length", "state-rows", "Scalar.length has shape (3,)")
class ThreeRows(Honest):
    """Mine."""

    def start(self, task):
        return Scalar(super().start(task).x, torch.zeros(3))


@defect("an undeclared field", "state-rows", "State.momentum is no field")
class Undeclared(Honest):
    """Mine."""

    def start(self, task):
        state = super().start(task)
        state.momentum = 0 * state.x
        return state


@defect("fails on an empty batch", "empty-batch", "a reduction such as .max() over the batch")
class FailsOnEmpty(Honest):
    """Mine."""

    def step(self, task, state, seen):
        assert seen.loss.max() < 1e9
        return super().step(task, state, seen)


@defect("fails on two classes", "classes", "with 2 classes")
class FailsOnTwo(Honest):
    """Mine."""

    def step(self, task, state, seen):
        seen.logits.topk(3)
        return super().step(task, state, seen)


@defect("fails on images that are no squares", "image-shapes", "on images (1, 5, 8)")
class Squares(Honest):
    """Mine."""

    def step(self, task, state, seen):
        if task.x.shape[2] > 4 and task.x.shape[2:] != (6, 7):
            seen.gradient + seen.gradient.transpose(2, 3)
        return super().step(task, state, seen)


@defect("a wrong shape", "protocol", "an axis was added, dropped or summed over")
class WrongShape(Honest):
    """Mine."""

    def start(self, task):
        return State(super().start(task).x.flatten(1))


@defect("a wrong type", "protocol", "a conversion such as .float()")
class WrongType(Honest):
    """Mine."""

    def step(self, task, state, seen):
        return State(super().step(task, state, seen).x.float())


@defect("no State", "protocol", "return State(x=...)")
class NoState(Honest):
    """Mine."""

    def start(self, task):
        return super().start(task).x


@defect("raises", "runs", "ValueError: no step (at core_defects.py:")
class Raises(Honest):
    """Mine."""

    def step(self, task, state, seen):
        raise ValueError("no step")


@defect("a name that is taken", "described", "'pgd' is taken by plugin pgd", name="pgd")
class Taken(Honest):
    """Mine."""


@defect("an unknown norm", "described", "norms that nobody knows: ['linfty']", norms={"linfty"})
class UnknownNorm(Honest):
    """Mine."""


@defect("an unexplained parameter", "described", "parameters without a meaning: width")
class Unexplained(Honest):
    """Mine."""

    width: int = 1


@dataclass(frozen=True)
class HonestWhole:
    """Steepest steps in a loop of its own."""

    steps: PositiveInt = param(12, "gradient steps")

    def passes(self, classes):
        return self.steps, self.steps

    def perturb(self, surrogate, task):
        x = task.ball.sample(task.noise("start"))
        for _ in range(self.steps):
            x = self.moved(surrogate, task, x.detach().requires_grad_())
        return x

    def moved(self, surrogate, task, x):
        z = surrogate.scores(x)
        right = z.gather(1, task.y[:, None])[:, 0]
        margin = z.scatter(1, task.y[:, None], -torch.inf).amax(1) - right
        (slope,) = torch.autograd.grad(margin.sum(), x)
        return task.ball.project(task.ball.steepest(x.detach(), slope, task.ball.epsilon / 4))


named(HonestWhole)


@defect("whole, outside the ball", "ball", "task.ball.project")
class WholeOutsideBall(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        x = super().perturb(surrogate, task)
        return (task.x + 2 * (x - task.x)).clamp(0, 1)


@defect("whole, outside the box", "box", "every pixel in [0, 1]")
class WholeOutsideBox(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        return task.x + task.ball.epsilon * (super().perturb(surrogate, task) - task.x).sign()


@defect("whole, no images", "protocol", "x as a tensor")
class WholeNoImages(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        return super().perturb(surrogate, task)[:, 0]


@defect("whole, not finite", "finite", "finite pixels")
class WholeNotFinite(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        return super().perturb(surrogate, task) / 0


@defect("whole, writes into the images", "inputs", "`task.x` was changed in place")
class WholeWrites(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        found = super().perturb(surrogate, task)
        task.x.add_(0.01)
        return found


@defect("whole, leaves gradients off", "global-state", "torch's switches")
class WholeSwitches(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        found = super().perturb(surrogate, task)
        torch.set_grad_enabled(False)
        return found


@defect("whole, another generator", "repeatable", "the same run, twice")
class WholeUnseeded(HonestWhole):
    """Mine."""

    clock: ClassVar[Any] = itertools.count(5)

    def perturb(self, surrogate, task):
        noise = torch.rand(task.x.shape, generator=torch.Generator().manual_seed(next(self.clock)))
        return task.ball.project(super().perturb(surrogate, task) + 1e-4 * noise)


@defect("whole, does nothing", "optimum", "it does nothing")
class WholeIdle(HonestWhole):
    """Mine."""

    def perturb(self, surrogate, task):
        return task.x.clone()
