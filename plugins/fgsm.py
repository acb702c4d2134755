"""One-step gradient attacks."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.api import (
    GRADIENT,
    ObjectiveName,
    Observation,
    PixelLength,
    State,
    Task,
    attack,
    hookimpl,
    param,
)


@attack(
    name="fgsm",
    norms={"linf", "l2", "l1"},
    any_norm=True,
    needs=GRADIENT,
    reference="Goodfellow, Shlens & Szegedy 2015, arXiv:1412.6572, section 4",
)
@dataclass(frozen=True)
class FGSM:
    """Fast gradient sign method: one steepest step of length epsilon from the clean image.

    In l2 and l1 the step is the steepest one of that norm inside the box.
    """

    loss: ObjectiveName = param("cross-entropy", "objective to maximise")

    @property
    def steps(self) -> int:
        """One."""
        return 1

    def start(self, task: Task) -> State:
        """At the clean image."""
        return State(x=task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """x + epsilon sign(gradient), in the box."""
        assert seen.gradient is not None
        return State(
            x=task.ball.project(task.ball.steepest(task.x, seen.gradient, task.ball.epsilon))
        )


@attack(
    name="r-fgsm",
    norms={"linf", "l2", "l1"},
    any_norm=True,
    needs=GRADIENT,
    reference="Tramèr et al. 2018, arXiv:1705.07204, eq. 7; Wong et al. 2020, arXiv:2001.03994",
)
@dataclass(frozen=True)
class RandomFGSM:
    """A random step, then one gradient step of 1.25 epsilon, projected to the ball.

    The random start leaves the clean image's neighbourhood, where some defenses bend the gradient.
    """

    step_size: PixelLength | None = param(None, "length of the gradient step; default 1.25 epsilon")
    loss: ObjectiveName = param("cross-entropy", "objective to maximise")

    @property
    def steps(self) -> int:
        """One, after the random start."""
        return 1

    def start(self, task: Task) -> State:
        """A random point of the ball."""
        return State(x=task.ball.sample(task.noise("start")))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """One steepest step from there."""
        assert seen.gradient is not None
        length = self.step_size or 1.25 * task.ball.epsilon
        return State(x=task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


@hookimpl
def auditor_attacks() -> list[type]:
    """FGSM and its randomised form."""
    return [FGSM, RandomFGSM]
