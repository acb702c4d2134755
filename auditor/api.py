"""Everything a plugin author needs, and nothing else.

A plugin is a module with attack or data classes and a hook that returns them:

    @attack(name="mine", norms={"linf"}, needs=GRADIENT, reference="arXiv:...")
    @dataclass(frozen=True)
    class Mine:
        steps: PositiveInt = param(10, "gradient steps")

        def start(self, task): return State(x=task.x)
        def step(self, task, state, seen): return State(x=task.ball.project(...))

    @hookimpl
    def auditor_attacks(): return [Mine]
"""

from auditor.attack import GRADIENT, SCORES, Attack, Observation, State, Task, attack
from auditor.composite import (
    Brief,
    Composite,
    Evidence,
    Stage,
    StagePrecision,
    Standing,
    likeliest_rivals,
)
from auditor.errors import LoadError
from auditor.hookspecs import Profile, hookimpl
from auditor.objectives import ObjectiveName
from auditor.quantities import NonNegativeInt, PixelLength, PositiveInt
from auditor.randomness import Noise
from auditor.samples import DataAdapter, Images, data_adapter
from auditor.spec import param
from auditor.threat import Ball

API_VERSION = (1, 0)

__all__ = [
    "API_VERSION",
    "GRADIENT",
    "SCORES",
    "Attack",
    "Ball",
    "Brief",
    "Composite",
    "DataAdapter",
    "Evidence",
    "Images",
    "LoadError",
    "Noise",
    "NonNegativeInt",
    "ObjectiveName",
    "Observation",
    "PixelLength",
    "PositiveInt",
    "Profile",
    "Stage",
    "StagePrecision",
    "Standing",
    "State",
    "Task",
    "attack",
    "data_adapter",
    "hookimpl",
    "likeliest_rivals",
    "param",
]
