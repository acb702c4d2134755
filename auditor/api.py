"""Everything a plugin author needs, and nothing else.

A plugin is a module with attack, check or data classes and a hook that returns them:

    @attack(name="mine", norms={"linf"}, needs=GRADIENT, reference="arXiv:...")
    @dataclass(frozen=True)
    class Mine:
        steps: PositiveInt = param(10, "gradient steps")

        def start(self, task): return State(x=task.x)
        def step(self, task, state, seen): return State(x=task.ball.project(...))

    @hookimpl
    def auditor_attacks(): return [Mine]
"""

from auditor.attack import GRADIENT, SCORES, Attack, Observation, State, Task, Trust, attack
from auditor.checks import (
    Attempt,
    Check,
    CheckReport,
    Family,
    Probe,
    Symptom,
    check,
    not_applicable,
)
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
from auditor.objectives import ObjectiveName, choose_objective
from auditor.quantities import (
    FactoryPath,
    FilePath,
    FolderPath,
    NonNegativeInt,
    PixelLength,
    PositiveInt,
)
from auditor.randomness import Noise
from auditor.results import DirectionCurve, MaskingKind, Measurement, PlantedControl
from auditor.samples import DataAdapter, Images, data_adapter
from auditor.spec import param
from auditor.stats import clopper_pearson
from auditor.surrogate import Evaluation, NoGradientError, Surrogate
from auditor.threat import Ball
from auditor.usercode import call_factory, raised_by_user_code
from auditor.victim import Victim

API_VERSION = (1, 0)

__all__ = [
    "API_VERSION",
    "GRADIENT",
    "SCORES",
    "Attack",
    "Attempt",
    "Ball",
    "Brief",
    "Check",
    "CheckReport",
    "Composite",
    "DataAdapter",
    "DirectionCurve",
    "Evaluation",
    "Evidence",
    "FactoryPath",
    "Family",
    "FilePath",
    "FolderPath",
    "Images",
    "LoadError",
    "MaskingKind",
    "Measurement",
    "NoGradientError",
    "Noise",
    "NonNegativeInt",
    "ObjectiveName",
    "Observation",
    "PixelLength",
    "PlantedControl",
    "PositiveInt",
    "Probe",
    "Profile",
    "Stage",
    "StagePrecision",
    "Standing",
    "State",
    "Surrogate",
    "Symptom",
    "Task",
    "Trust",
    "Victim",
    "attack",
    "call_factory",
    "check",
    "choose_objective",
    "clopper_pearson",
    "data_adapter",
    "hookimpl",
    "likeliest_rivals",
    "not_applicable",
    "param",
    "raised_by_user_code",
]
