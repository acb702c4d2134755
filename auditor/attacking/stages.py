"""Runs any attack on a block of images, plain or composite, once or twice."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

import torch

from auditor.attacking.boundaries import linear_distances
from auditor.attacking.lanes import LanePlan
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.own_loop import Whole
from auditor.attacking.pool import (
    MOST_RESTARTS,
    AttackDefectError,
    OutOfTimeError,
    Pool,
    Progress,
    Stop,
    go_on,
)
from auditor.attacking.verify import Verifier
from auditor.maths.norms import Ball
from auditor.maths.objectives import Objective, choose_objective
from auditor.protocols.attack import AttackSpec, Trust, spec_of, wishes_of
from auditor.protocols.composite import Brief, Stage, StagePrecision, Standing
from auditor.surrogate import Surrogate

_R = TypeVar("_R", Pool, Whole)


@dataclass(frozen=True)
class StageRecord:
    """What a stage did, all numbers of this block: plain data for the ledger."""

    name: str
    objective: str
    note: str
    surrogate: str
    #: Images it was run on, and how many of them fell.
    images: int
    broken: int
    forwards: int
    backwards: int
    seconds: float


@dataclass
class Log:
    """What is said of an attack on a block as a whole: plain data for the ledger."""

    objective: str = ""
    note: str = ""
    surrogate: str = ""
    stages: list[StageRecord] = field(default_factory=list)
    #: Images on which two independent runs agree, and which only one of them broke.
    agreement: dict[str, int] | None = None


@dataclass(frozen=True)
class Campaign:
    """Everything it takes to attack a block.

    Attributes:
        exact: the surrogate that attacks run on by default.
        search: the one for stages that ask for a faster precision.
        key: names the attack and its parameters in the random numbers.
        trust: what the attack trusts on these surrogates; None works it out for the victim's own.
        stop: looked at before every step.
        itself: whether `exact` and `search` are the victim's, repaired or not.
    """

    spec: AttackSpec
    attack: Any
    exact: Surrogate
    search: Surrogate
    verifier: Verifier
    classes: int
    has_gradient: bool
    seed: int
    key: str
    batch_size: int
    trust: Trust | None = None
    stop: Stop = go_on
    itself: bool = True

    def run(self, block: Block, progress: Progress) -> tuple[Outcome, Log]:
        """Attack every image; with `second_run` of the attack, twice from the start.

        Raises:
            AttackDefectError: the attack broke the protocol.
            NoGradientError: the attack needs a gradient and there is none.
            OutOfTimeError: `stop` says so.
        """
        outcome, log = self._once(block, progress)
        if getattr(self.attack, "second_run", False):
            again = replace(self, key=f"{self.key} second run")
            second, _ = again._once(block, progress)
            log.agreement = _agreement(outcome, second)
            outcome.merge(second)
        return outcome, log

    def _once(self, block: Block, progress: Progress) -> tuple[Outcome, Log]:
        if hasattr(self.attack, "stages"):
            return self._composite(block, progress)
        wishes = wishes_of(self.attack)
        objective = choose_objective(wishes.loss, self.classes, targeted=wishes.targets > 0)
        surrogate = self.exact.averaged(wishes.eot)
        made = (self.spec, self.attack, surrogate, objective)
        if hasattr(self.attack, "perturb"):
            outcome = self._runner(Whole, *made).run(block, progress)
        else:
            outcome = self._runner(Pool, *made).run(block, progress)
        note = joined([objective.note, self._few_targets(wishes.targets)])
        return outcome, Log(objective.name, note, surrogate.name)

    def _few_targets(self, wanted: int) -> str:
        """What is to be said where there are fewer wrong classes than an attack wants to aim at."""
        if wanted < self.classes:
            return ""
        return f"{wanted} targets are asked for and there are {self.classes - 1} wrong classes"

    def _composite(self, block: Block, progress: Progress) -> tuple[Outcome, Log]:
        outcome = Outcome.empty(block, 0, points=True)
        log = Log(surrogate=self.exact.name)
        if len(block):
            stages = self.attack.stages(self._brief(block, outcome))
            self._advance(stages, block, outcome, log, progress)
        log.note = joined(stage.note for stage in log.stages)
        progress(len(block), int(outcome.broken.sum()))
        return outcome, log

    def _advance(
        self,
        stages: Generator[Stage, Standing, None],
        block: Block,
        outcome: Outcome,
        log: Log,
        progress: Progress,
    ) -> None:
        """Run one stage after another, until the attack has no more."""
        standing: Standing | None = None
        while True:
            if reason := self.stop():
                raise OutOfTimeError(reason)
            try:
                stage = next(stages) if standing is None else stages.send(standing)
            except StopIteration:
                return
            if not isinstance(stage, Stage):
                raise AttackDefectError(
                    f"attack {self.spec.name!r} yielded {type(stage).__name__}, not a Stage"
                )
            record, standing = self._stage(stage, block, outcome, progress)
            log.stages.append(record)

    def _stage(
        self, stage: Stage, block: Block, outcome: Outcome, progress: Progress
    ) -> tuple[StageRecord, Standing]:
        try:
            spec = spec_of(type(stage.attack))
        except TypeError as error:
            raise AttackDefectError(f"stage {stage.name!r}: {error}") from None
        if hasattr(stage.attack, "perturb"):
            raise AttackDefectError(f"stage {stage.name!r}: {spec.name!r} keeps its own loop")
        wishes = wishes_of(stage.attack)
        objective = choose_objective(wishes.loss, self.classes, targeted=stage.target is not None)
        base = self.search if stage.precision == "search" else self.exact
        surrogate = base.averaged(wishes.eot)
        pool = self._runner(Pool, spec, stage.attack, surrogate, objective, f" {stage.name}")
        before = (int(outcome.broken.sum()), outcome.forwards.sum(), outcome.backwards.sum())
        plan = self._plan(stage, block)
        begin = time.perf_counter()
        reached = pool.run_lanes(
            block, plan, outcome, lambda finished, broken: progress(broken, broken)
        )
        record = StageRecord(
            name=stage.name,
            objective=objective.name,
            note=joined([objective.note, stage.note]),
            surrogate=surrogate.name,
            images=len(set(plan.row.tolist())),
            broken=int(outcome.broken.sum()) - before[0],
            forwards=int(outcome.forwards.sum() - before[1]),
            backwards=int(outcome.backwards.sum() - before[2]),
            seconds=time.perf_counter() - begin,
        )
        assert outcome.best_point is not None
        standing = Standing(
            outcome.broken.clone(),
            outcome.margin.clone(),
            outcome.best_point.clone(),
            outcome.zero | outcome.nonfinite,
            reached,
            outcome.nearest.clone(),
        )
        return record, standing

    def _plan(self, stage: Stage, block: Block) -> LanePlan:
        """The lanes of a stage.

        Raises:
            AttackDefectError: its tensors do not fit together, or name what is not there.
        """
        who = f"stage {stage.name!r} of attack {self.spec.name!r}"
        limits = {"image": len(block), "target": self.classes, "restart": MOST_RESTARTS}
        for name in ("image", "target", "restart", "turn"):
            column = getattr(stage, name)
            if column is None and name != "image":
                continue
            if not isinstance(column, torch.Tensor) or column.dtype != torch.int64:
                raise AttackDefectError(f"{who} has a column {name!r} that is no int64 tensor")
            if column.shape != (len(stage.image),):
                raise AttackDefectError(f"{who} has columns of different lengths")
            if name in limits and not ((column >= 0) & (column < limits[name])).all():
                raise AttackDefectError(f"{who} names {name}s that are not there")
        m, origin, zero = len(stage.image), stage.origin, torch.zeros_like(stage.image)
        if origin is not None and origin.shape[0] != m:
            raise AttackDefectError(f"{who} has {len(origin)} starting points for {m} lanes")
        if stage.precision not in get_args(StagePrecision):
            raise AttackDefectError(f"{who} asks for the precision {stage.precision!r}")
        return LanePlan(
            row=stage.image,
            target=stage.target,
            restart=zero if stage.restart is None else stage.restart,
            turn=zero if stage.turn is None else stage.turn,
            origin=origin,
        )

    def _brief(self, block: Block, outcome: Outcome) -> Brief:
        """What the composite gets to know."""

        def clean_logits() -> torch.Tensor:
            objective = choose_objective("margin", self.classes)
            seen = self.exact.evaluate(block.x, block.y, objective, gradient=False)
            outcome.forwards += self.exact.draws
            return seen.logits

        def distances(rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            draws = torch.full_like(rows, self.exact.draws)
            outcome.forwards.index_add_(0, rows, draws)
            outcome.backwards.index_add_(0, rows, draws * targets.shape[1])
            ball = Ball(self.verifier.norm, self.verifier.epsilon, block.x[rows])
            return linear_distances(
                self.exact, ball, block.y[rows], targets, self.batch_size, self.stop
            )

        # A copy: claims are verified against the block, whatever is written into the brief.
        x = block.x.clone()
        return Brief(
            x=x,
            y=block.y.clone(),
            ball=Ball(self.verifier.norm, self.verifier.epsilon, x),
            classes=self.classes,
            random=self.verifier.victim.draws > 1,
            has_gradient=self.has_gradient,
            coarse_search=self.search != self.exact,
            _ask=clean_logits,
            _distances=distances if self.has_gradient else None,
        )

    def _runner(
        self,
        kind: type[_R],
        spec: AttackSpec,
        attack: Any,
        surrogate: Surrogate,
        objective: Objective,
        name: str = "",
    ) -> _R:
        return kind(
            spec,
            attack,
            surrogate,
            objective,
            self.verifier,
            self.seed,
            self.key + name,
            self.batch_size,
            self.trust,
            self.stop,
            self.itself,
        )


def joined(notes: Iterable[str]) -> str:
    """Notes, which may themselves be several, as one text that says nothing twice."""
    single = (part for note in notes for part in note.split("; ") if part)
    return "; ".join(dict.fromkeys(single))


def _agreement(first: Outcome, second: Outcome) -> dict[str, int]:
    return {
        "total": len(first.broken),
        "same": int((first.broken == second.broken).sum()),
        "only_first": int((first.broken & ~second.broken).sum()),
        "only_second": int((second.broken & ~first.broken).sum()),
    }
