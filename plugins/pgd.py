"""Projected gradient descent."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.api import (
    GRADIENT,
    ObjectiveName,
    Observation,
    PixelLength,
    PositiveInt,
    State,
    Task,
    attack,
    hookimpl,
    param,
)


@attack(
    name="pgd",
    norms={"linf", "l2", "l1"},
    any_norm=True,
    needs=GRADIENT,
    reference="Madry et al. 2018, arXiv:1706.06083, section 2.1",
)
@dataclass(frozen=True)
class PGD:
    """Projected gradient descent from a random start: steepest step, projection, repeat."""

    steps: PositiveInt = param(40, "gradient steps per restart")
    step_size: PixelLength | None = param(
        None, "length of a step; default 2.5 epsilon / steps, in l2 5 epsilon / steps"
    )
    restarts: PositiveInt = param(1, "random starts; images that fell are not started again")
    loss: ObjectiveName = param("cross-entropy", "objective to maximise")
    eot: PositiveInt = param(1, "evaluations each gradient is averaged over, for random models")

    def start(self, task: Task) -> State:
        """A random point of the ball."""
        return State(x=task.ball.sample(task.noise("start")))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """x <- P(x + a steepest(gradient))."""
        assert seen.gradient is not None
        # In l2 the angle to the best direction closes like 1 - tanh(path / epsilon): a path of 2.5
        # epsilon would end 1.3 % below the optimum of a linear model, whatever the steps.
        path = 5.0 if task.ball.norm.name == "l2" else 2.5
        length = self.step_size or path * task.ball.epsilon / self.steps
        return State(x=task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


@hookimpl
def auditor_attacks() -> list[type]:
    """PGD."""
    return [PGD]
