"""The properties of checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from auditor.api import GRADIENT, State, Task, attack
from auditor.attacking.outcome import Block
from auditor.cells.cell import ModelUnderAudit
from auditor.masking.probe import EngineProbe, Fallen
from auditor.maths.norms import NORMS, Norm
from auditor.preflight import Preflight
from auditor.protocols.check import CheckReport
from auditor.subject.victim import Victim
from auditor.surrogate import naive
from auditor.testing.models import Counted, Smooth, pictures, radius
from auditor.testing.offered import Offered
from auditor.testing.property import Violation
from auditor.testing.run import changes, crash, weights
from auditor.testing.watch import World

_SHAPE = (1, 6, 7)
_IMAGES = 12


@dataclass(frozen=True)
class Circumstance:
    """A model and images that a check is asked about."""

    name: str
    norm: Norm = NORMS[0]
    images: int = _IMAGES
    classes: int = 4
    #: How much of the kit's radius epsilon is.
    reach: float = 1.0
    gradient: bool = True
    random: bool = False


USUAL = Circumstance("an honest network")
ODD = (
    *(Circumstance(f"an honest network, {norm.name}", norm) for norm in NORMS[1:]),
    Circumstance("a single image", images=1),
    Circumstance("two classes", classes=2),
    Circumstance("a model of which every image has fallen", reach=30.0),
    Circumstance("a model without a gradient", gradient=False),
    Circumstance("a model whose answers vary", random=True),
)


class _Model(nn.Module):
    """An honest network; perhaps without a gradient, perhaps with random answers."""

    def __init__(self, circumstance: Circumstance, x: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.given = Smooth(x, circumstance.classes), circumstance

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.given.random:
            x = x + 0.01 * torch.randn_like(x)
        with torch.set_grad_enabled(self.given.gradient and torch.is_grad_enabled()):
            z: torch.Tensor = self.inner(x)
        return z


@attack(name="sweep", norms={"linf", "l2", "l1"}, needs=GRADIENT, reference="")
@dataclass(frozen=True)
class _Sweep:
    """What has gone before a check in an audit: an attack that breaks what is easily broken."""

    steps: int = 20
    loss: str = "margin"

    def start(self, task: Task) -> State:
        return State(task.x)

    def step(self, task: Task, state: State, seen: Any) -> State:
        length = task.ball.epsilon / 4
        return State(task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))


@dataclass
class Visit:
    """One run of a check."""

    violations: dict[str, Violation] = field(default_factory=dict)
    report: CheckReport | None = None
    #: Passes by the engine's count, and by the model's own.
    counted: int = 0
    passed: int = 0

    def note(self, violation: Violation) -> None:
        """Keep the first violation of each property."""
        self.violations.setdefault(violation.property, violation)


def _probe(circumstance: Circumstance) -> EngineProbe:
    """The engine's probe, after a short attack."""
    x = pictures(_IMAGES, _SHAPE).float()
    model = Counted(_Model(circumstance, x))
    victim = Victim("kit", model)
    victim.seeded, victim.draws = circumstance.random, 9 if circumstance.random else 1
    x = x[: circumstance.images]
    y = victim.judge(x, torch.zeros(len(x), dtype=torch.int64)).prediction
    seen = Preflight(
        circumstance.classes, y.numpy(), (y == y).numpy(), torch.ones(len(x)).double().numpy(),
        (), "", circumstance.gradient,
    )  # fmt: skip
    surrogate = naive(victim)
    probe = EngineProbe(
        label="check",
        block=Block(x, y, 10_000 - 37 * torch.arange(len(x))),
        model=ModelUnderAudit(victim, seen, surrogate, surrogate, "plain", "float32"),
        norm=circumstance.norm,
        epsilon=circumstance.reach * radius(circumstance.norm, _SHAPE),
        others={},
        stand_in=None,
        seed=0,
        batch_size=64,
        standing=Fallen.nothing(len(x), x.device),
        known=(),
    )
    if circumstance.gradient:
        probe.attack("sweep", _Sweep(), torch.arange(len(x)))
    return probe


def _visit(made: Any, circumstance: Circumstance) -> Visit:
    """Run a check; whatever it does wrong is noted, nothing is raised."""
    visit, probe = Visit(), _probe(circumstance)
    module = probe.victim.module
    assert isinstance(module, Counted)
    inputs, before, world = (probe.x.clone(), probe.y.clone()), weights(module), World.now()
    passes, passed = probe.victim.passes.forwards, module.forwards
    try:
        visit.report = made.run(probe)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the author's code may raise anything
        expected = "a CheckReport, on every model; not_applicable(why) where there is nothing to do"
        visit.note(replace(crash(error), expected=expected))
    visit.counted = probe.victim.passes.forwards - passes
    visit.passed = module.forwards - passed
    if change := world.change():
        visit.note(change)
    for violation in changes(before, module):
        visit.note(violation)
    if not (torch.equal(inputs[0], probe.x) and torch.equal(inputs[1], probe.y)):
        visit.note(
            Violation("inputs", "probe.x or probe.y was changed in place", "they stay as they are",
                      "compute new tensors instead: x + d, not x += d")
        )  # fmt: skip
    return visit


class CheckTrial:
    """A check, and what was seen of it so far."""

    def __init__(self, offered: Offered) -> None:
        self.offered = offered

    @cached_property
    def usual(self) -> Visit:
        """On an honest network, in l-infinity."""
        return self.visit(USUAL)

    @cached_property
    def odd(self) -> dict[str, Visit]:
        """In circumstances that the author may not have thought of."""
        return {one.name: self.visit(one) for one in ODD}

    def visit(self, circumstance: Circumstance) -> Visit:
        """Run it once."""
        return _visit(self.offered.made, circumstance)

    def visits(self) -> Iterator[tuple[str, Visit]]:
        """Everything that has been run, by the name of the circumstance."""
        yield USUAL.name, self.usual
        yield from self.odd.items()


def described(trial: CheckTrial) -> Violation | None:
    """It has a docstring, and a name of its own; each parameter says what it is for."""
    spec, registry = trial.offered.spec, trial.offered.registry
    missing = [one.name for one in spec.parameters if not one.doc]
    taken = registry.checks.get(spec.name)
    if not spec.summary or spec.summary.startswith(f"{spec.cls.__name__}("):
        seen, cause = "no docstring", "its first line is what `auditor list checks` shows"
    elif missing:
        seen = f"parameters without a meaning: {', '.join(missing)}"
        cause = 'declare them with param(default, "what it is for")'
    elif taken is not None and taken.cls.__qualname__ != spec.cls.__qualname__:
        seen, cause = f"the name {spec.name!r} is taken", "choose another name"
    else:
        return None
    return Violation("described", seen, "what a report and a user need to know", cause)


def runs(trial: CheckTrial) -> Violation | None:
    """It returns a CheckReport, also without a gradient, on one image, on a random model."""
    for name, visit in trial.visits():
        if found := visit.violations.get("runs"):
            return replace(found, seen=f"on {name}: {found.seen}")
        if not isinstance(visit.report, CheckReport):
            seen = f"on {name} it returned {type(visit.report).__name__}"
            return Violation("runs", seen, "a CheckReport", "return CheckReport(sentence, ...)")
    return None


def no_false_alarm(trial: CheckTrial) -> Violation | None:
    """It finds no symptom on an honest model."""
    honest = {USUAL.name, *(one.name for one in ODD if one.gradient and not one.random)}
    for name, visit in trial.visits():
        if name in honest and isinstance(visit.report, CheckReport) and visit.report.symptoms:
            return Violation(
                "no-false-alarm",
                f'on {name} it flags "{visit.report.symptoms[0].title}"',
                "no symptom: this model hides nothing",
                "the threshold is crossed by honest models, or by chance on a few images: compare "
                "with an exact bound (clopper_pearson)",
            )
    return None


def sentence(trial: CheckTrial) -> Violation | None:
    """It says what it saw in a sentence."""
    for name, visit in trial.visits():
        if not isinstance(visit.report, CheckReport):
            continue
        said = visit.report.sentence
        if not isinstance(said, str) or len(said.split()) < 3 or said.strip()[-1:] not in ".?!":
            return Violation(
                "sentence",
                f"on {name} it says {said!r}",
                "a sentence of plain language, with a full stop: the report prints it",
                "say what was looked at, how much of it, and what came of it",
            )
    return None


def cost(trial: CheckTrial) -> Violation | None:
    """Every pass of the model is counted, so that the report's cost is true."""
    for name, visit in trial.visits():
        if visit.passed > visit.counted:
            return Violation(
                "cost",
                f"on {name} {visit.passed} images went through the model, and {visit.counted} were "
                "counted",
                "every pass is counted",
                "it calls the module by itself: use probe.victim.logits, probe.victim.judge or "
                "probe.surrogate.evaluate",
            )
    return None


def repeatable(trial: CheckTrial) -> Violation | None:
    """The same model gives the same report."""
    again = trial.visit(USUAL).report
    first = trial.usual.report
    if not isinstance(first, CheckReport) or not isinstance(again, CheckReport):
        return None
    if repr(asdict(first)) == repr(asdict(again)):
        return None
    return Violation(
        "repeatable",
        f"twice on the same model: {first.sentence!r}, then {again.sentence!r}",
        "the same report",
        "it draws random numbers of its own, or remembers something: draw from "
        'probe.noise("a purpose", rows)',
    )


def _noted(name: str) -> Any:
    def look(trial: CheckTrial) -> Violation | None:
        for where, visit in trial.visits():
            if found := visit.violations.get(name):
                return replace(found, seen=f"on {where}: {found.seen}")
        return None

    return look


PROPERTIES = {
    "described": (described.__doc__ or "", described),
    "runs": (runs.__doc__ or "", runs),
    "no-false-alarm": (no_false_alarm.__doc__ or "", no_false_alarm),
    "sentence": (sentence.__doc__ or "", sentence),
    "cost": (cost.__doc__ or "", cost),
    "repeatable": (repeatable.__doc__ or "", repeatable),
    "inputs": ("It does not change the images and labels.", _noted("inputs")),
    "model": ("It does not change the model: parameters, buffers, mode, requires_grad.",
              _noted("model")),
    "global-state": ("It neither reads nor changes the random numbers of torch, NumPy and Python.",
                     _noted("global-state")),
}  # fmt: skip
