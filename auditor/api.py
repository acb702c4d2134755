"""Everything a plugin author needs, and nothing else.

A plugin is a module with classes or functions and hooks that return them. An attack, for example:

    @attack(name="mine", norms={"linf"}, needs=GRADIENT, reference="arXiv:...")
    @dataclass(frozen=True)
    class Mine:
        steps: PositiveInt = param(10, "gradient steps")

        def start(self, task): return State(x=task.x)
        def step(self, task, state, seen): return State(x=task.ball.project(...))

    @hookimpl
    def auditor_attacks(): return [Mine]
"""

from auditor.errors import LoadError
from auditor.maths.intervals import clopper_pearson
from auditor.maths.norms import Ball, Norm
from auditor.maths.objectives import ObjectiveName, choose_objective
from auditor.maths.randomness import Noise
from auditor.parameters import (
    FactoryPath,
    FilePath,
    FolderPath,
    NonNegativeInt,
    PixelLength,
    PositiveInt,
    param,
)
from auditor.printable import one_line
from auditor.protocols.attack import (
    GRADIENT,
    SCORES,
    Attack,
    Observation,
    State,
    Task,
    Trust,
    attack,
    passes_of,
)
from auditor.protocols.check import (
    Attempt,
    Check,
    CheckReport,
    Family,
    Probe,
    Symptom,
    check,
    not_applicable,
)
from auditor.protocols.composite import (
    Brief,
    Composite,
    Part,
    Sampled,
    Situation,
    Stage,
    StagePrecision,
    Standing,
    likeliest_rivals,
)
from auditor.protocols.events import (
    AttemptProgress,
    AttemptStarted,
    CellDone,
    CellProgress,
    CellStarted,
    CheckDone,
    CheckStarted,
    Event,
    Listener,
    ModelReady,
    Remark,
    ReportsWritten,
    RunFinished,
    RunStarted,
    SampleDone,
    Sink,
    sink,
)
from auditor.protocols.hookspecs import API_VERSION, Profile, hookimpl
from auditor.protocols.own_loop import WholeAttack
from auditor.protocols.reporting import Reporter, Section, reporter, section
from auditor.protocols.tracking import Tracker, tracker
from auditor.report.wording import interval, percent, threat_text
from auditor.report.wording import norm as norm_text
from auditor.results import (
    Accuracy,
    AttackResult,
    AuditResult,
    ControlTrial,
    DirectionCurve,
    Finding,
    GateResult,
    Judgement,
    Location,
    MaskingKind,
    Measurement,
    ModelResult,
    PlantedControl,
    ThreatResult,
)
from auditor.storage import write_atomically
from auditor.subject.model_loader import ModelLoader, model_loader
from auditor.subject.samples import DataAdapter, Images, data_adapter
from auditor.subject.victim import STOCHASTIC_DRAWS, Victim
from auditor.surrogate import Evaluation, NoGradientError, Surrogate, SurrogateMaker
from auditor.surrogate.maker import surrogate
from auditor.usercode.calls import call_factory, import_extra, raised_by_user_code

__all__ = [
    "API_VERSION",
    "GRADIENT",
    "SCORES",
    "STOCHASTIC_DRAWS",
    "Accuracy",
    "Attack",
    "AttackResult",
    "Attempt",
    "AttemptProgress",
    "AttemptStarted",
    "AuditResult",
    "Ball",
    "Brief",
    "CellDone",
    "CellProgress",
    "CellStarted",
    "Check",
    "CheckDone",
    "CheckReport",
    "CheckStarted",
    "Composite",
    "ControlTrial",
    "DataAdapter",
    "DirectionCurve",
    "Evaluation",
    "Event",
    "FactoryPath",
    "Family",
    "FilePath",
    "Finding",
    "FolderPath",
    "GateResult",
    "Images",
    "Judgement",
    "Listener",
    "LoadError",
    "Location",
    "MaskingKind",
    "Measurement",
    "ModelLoader",
    "ModelReady",
    "ModelResult",
    "NoGradientError",
    "Noise",
    "NonNegativeInt",
    "Norm",
    "ObjectiveName",
    "Observation",
    "Part",
    "PixelLength",
    "PlantedControl",
    "PositiveInt",
    "Probe",
    "Profile",
    "Remark",
    "Reporter",
    "ReportsWritten",
    "RunFinished",
    "RunStarted",
    "SampleDone",
    "Sampled",
    "Section",
    "Sink",
    "Situation",
    "Stage",
    "StagePrecision",
    "Standing",
    "State",
    "Surrogate",
    "SurrogateMaker",
    "Symptom",
    "Task",
    "ThreatResult",
    "Tracker",
    "Trust",
    "Victim",
    "WholeAttack",
    "attack",
    "call_factory",
    "check",
    "choose_objective",
    "clopper_pearson",
    "data_adapter",
    "hookimpl",
    "import_extra",
    "interval",
    "likeliest_rivals",
    "model_loader",
    "norm_text",
    "not_applicable",
    "one_line",
    "param",
    "passes_of",
    "percent",
    "raised_by_user_code",
    "reporter",
    "section",
    "sink",
    "surrogate",
    "threat_text",
    "tracker",
    "write_atomically",
]
