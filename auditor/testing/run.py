"""Runs an attack under watch, through the engine that audits use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.pool import AttackDefectError
from auditor.attacking.setup import Setup
from auditor.attacking.stages import attack_block
from auditor.attacking.verify import Verifier
from auditor.errors import raised_at
from auditor.maths.norms import Norm
from auditor.protocols.attack import spec_of
from auditor.subject.victim import Victim
from auditor.surrogate import naive
from auditor.testing.models import Counted, Smooth, pictures, radius
from auditor.testing.property import Violation
from auditor.testing.watch import Record, watched
from auditor.usercode.calls import blamed

#: Steps after which watched attacks are cut off; the attacks of composites are many.
_STEPS, _STAGE_STEPS = 12, 4
_SHAPE = (1, 6, 7)


@dataclass(frozen=True)
class Setting:
    """What an attack is run on: a model, images that it classifies correctly, and a threat.

    Attributes:
        searched: the model that the attack sees, where it is not the one that judges.
        rows: which images, in which order; all of them if None.
        whole: whether it runs to its end; else it is cut off after some steps, every one watched.
    """

    norm: Norm
    model: nn.Module
    x: torch.Tensor
    y: torch.Tensor
    dtype: torch.dtype = torch.float64
    searched: nn.Module | None = None
    epsilon: float | None = None
    rows: tuple[int, ...] | None = None
    batch_size: int = 64
    seed: int = 0
    whole: bool = False

    @property
    def radius(self) -> float:
        """Epsilon."""
        return self.epsilon or radius(self.norm, tuple(self.x.shape[1:]))  # type: ignore[arg-type]

    def block(self) -> Block:
        """The images, with ids that are no row numbers."""
        rows = torch.arange(len(self.x)) if self.rows is None else torch.tensor(self.rows)
        image = 10_000 - 37 * torch.arange(len(self.x))
        return Block(self.x[rows].to(self.dtype).clone(), self.y[rows].clone(), image[rows])


@dataclass
class Run:
    """What came of a run."""

    setting: Setting
    record: Record = field(default_factory=Record)
    #: None if it was cut off by an error.
    outcome: Outcome | None = None
    #: What the surrogate was asked for, by the engine's count and by the model's own.
    counted: int = 0
    passed: int = 0


def smooth(
    norm: Norm,
    shape: tuple[int, int, int] = _SHAPE,
    classes: int = 4,
    images: int = 7,
    **options: Any,
) -> Setting:
    """An honest network of which some images fall, and some do not."""
    x = pictures(images, shape)
    model = Smooth(x, classes)
    with torch.no_grad():
        y = model(x.float()).argmax(1)
    return Setting(norm, model, x, y, **options)


def unbroken(setting: Setting) -> Setting:
    """The same where nothing falls: the model that judges is right everywhere."""
    label = int(setting.y[0])
    keep = (setting.y == label).nonzero().flatten()
    return replace(
        setting,
        model=_Always(label, int(setting.y.max()) + 2),
        searched=setting.searched or setting.model,
        x=setting.x[keep],
        y=setting.y[keep],
    )


class _Always(nn.Module):
    def __init__(self, label: int, classes: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes).index_fill_(0, torch.tensor(label), 5.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bias + 0 * x.flatten(1).sum(1, keepdim=True)


def run_in(attack: Any, setting: Setting) -> Run:
    """Run `attack` on `setting`; whatever it does wrong is noted, nothing is raised."""
    result = Run(setting)
    victim = Victim("kit", Counted(setting.model), precision=setting.dtype)
    searched = victim
    if setting.searched is not None:
        searched = Victim("kit", Counted(setting.searched), precision=setting.dtype)
    victim.seeded = searched.seeded = False  # the kit's models draw no random numbers
    before = weights(searched.module)
    steps = _STAGE_STEPS if spec_of(type(attack)).kind == "stages" else _STEPS
    try:
        result.outcome = _attacked(
            watched(attack, result.record, None if setting.whole else steps),
            setting,
            victim,
            searched,
        )
    except AttackDefectError as error:
        # What was wrong is noted already, if the proposal was looked at.
        cause = "see the protocol in docs/writing-a-plugin.md"
        result.record.note(Violation("protocol", str(error), "the protocol of attacks", cause))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the author's code may raise anything
        result.record.note(crash(error))
    for change in changes(before, searched.module):
        result.record.note(change)
    result.counted = searched.passes.forwards
    result.passed = searched.module.forwards  # type: ignore[assignment]
    return result


def _attacked(attack: Any, setting: Setting, victim: Victim, searched: Victim) -> Outcome:
    surrogate, verifier = naive(searched), Verifier(victim, setting.norm, setting.radius)
    with torch.no_grad():
        classes = searched.logits(setting.x[:1].to(setting.dtype)).shape[1]
    setup = Setup(
        spec=spec_of(type(attack)),
        attack=attack,
        surrogate=surrogate,
        verifier=verifier,
        classes=classes,
        seed=setting.seed,
        key="conformance",
        batch_size=setting.batch_size,
    )
    outcome, _ = attack_block(setup, setting.block(), lambda finished, broken: None)
    return outcome


def crash(error: BaseException) -> Violation:
    """What an error in the author's code is reported as."""
    place = raised_at(error)
    return Violation(
        "runs",
        blamed(error),
        "no error on images and models of this kind",
        f"mend {place}" if place else "mend the line above; the whole traceback is in the test",
        error,
    )


def weights(module: nn.Module) -> dict[str, Any]:
    """All of a model that somebody could change, by a description."""
    found: dict[str, Any] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        found[f"the values of {name}"] = tensor.detach().clone()
        found[f"requires_grad of {name}"] = tensor.requires_grad
        found[f"the gradient of {name}"] = tensor.grad
    for name, part in module.named_modules():
        found[f"the mode (training or evaluation) of {name or 'the model'}"] = part.training
        found[f"the hooks of {name or 'the model'}"] = len(part._forward_hooks)
    return found


def changes(before: dict[str, Any], module: nn.Module) -> Iterable[Violation]:
    """What is no longer as `weights` found it."""
    for what, now in weights(module).items():
        was = before.get(what)
        same = torch.equal(was, now) if isinstance(now, torch.Tensor) and was is not None else (
            was is now or was == now
        )  # fmt: skip
        if not same:
            yield Violation(
                "model",
                f"{what.replace('inner.', '')} changed",
                "the model is afterwards as it was: parameters, buffers, mode, requires_grad",
                "it reached the model and called .train(), .eval(), .requires_grad_(), .backward() "
                "or changed a tensor: an attack sees the model through `seen` alone, a check "
                "through probe.surrogate.evaluate and probe.victim.judge",
            )
