"""Runs any attack on a block of images, plain or composite, once or twice."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import get_args

import torch

from auditor.attacking.boundaries import linear_distances
from auditor.attacking.lanes import LanePlan
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.own_loop import OwnLoop
from auditor.attacking.pool import MOST_RESTARTS, AttackDefectError, Pool
from auditor.attacking.setup import Progress, Setup, proceed
from auditor.maths.objectives import choose_objective
from auditor.protocols.attack import spec_of, wishes_of
from auditor.protocols.composite import Brief, Stage, StagePrecision, Standing
from auditor.surrogate import Surrogate


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


def attack_block(setup: Setup, block: Block, progress: Progress) -> tuple[Outcome, Log]:
    """Attack every image; with `second_run` of the attack, twice from the start.

    Raises:
        AttackDefectError: the attack broke the protocol.
        NoGradientError: the attack needs a gradient and there is none.
        OutOfTimeError: `stop` says so.
    """
    outcome, log = _once(setup, block, progress)
    if setup.wishes.second_run:
        second, _ = _once(replace(setup, key=f"{setup.key} second run"), block, progress)
        log.agreement = _agreement(outcome, second)
        outcome.merge(second)
    return outcome, log


def _once(setup: Setup, block: Block, progress: Progress) -> tuple[Outcome, Log]:
    if setup.spec.kind == "stages":
        return Stages(setup).run(block, progress)
    wishes, classes = setup.wishes, setup.classes
    objective = choose_objective(wishes.loss, classes, targeted=wishes.targets > 0)
    averaged = replace(setup, surrogate=setup.surrogate.averaged(wishes.eot))
    if setup.spec.kind == "steps":
        outcome = Pool(averaged, objective).run(block, progress)
    else:
        outcome = OwnLoop(averaged, objective).run(block, progress)
    note = joined([objective.note, _few_targets(wishes.targets, classes)])
    return outcome, Log(objective.name, note, averaged.surrogate.name)


def _few_targets(wanted: int, classes: int) -> str:
    """What is to be said where there are fewer wrong classes than an attack wants to aim at."""
    if wanted < classes:
        return ""
    return f"{wanted} targets are asked for and there are {classes - 1} wrong classes"


@dataclass(frozen=True)
class Stages:
    """Runs a composite: one stage after another, each in the pool."""

    setup: Setup

    @property
    def _search(self) -> Surrogate:
        return self.setup.search or self.setup.surrogate

    def run(self, block: Block, progress: Progress) -> tuple[Outcome, Log]:
        """Attack every image; raises as `attack_block`."""
        outcome = Outcome.empty(block, 0, points=True)
        log = Log(surrogate=self.setup.surrogate.name)
        if len(block):
            stages = self.setup.attack.stages(self._brief(block, outcome))
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
            proceed(self.setup.stop)
            try:
                stage = next(stages) if standing is None else stages.send(standing)
            except StopIteration:
                return
            if not isinstance(stage, Stage):
                raise AttackDefectError(
                    f"attack {self.setup.spec.name!r} yielded {type(stage).__name__}, not a Stage"
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
        if spec.kind == "own loop":
            raise AttackDefectError(f"stage {stage.name!r}: {spec.name!r} keeps its own loop")
        wishes = wishes_of(stage.attack)
        targeted = stage.target is not None
        objective = choose_objective(wishes.loss, self.setup.classes, targeted=targeted)
        base = self._search if stage.precision == "search" else self.setup.surrogate
        setup = replace(
            self.setup,
            spec=spec,
            attack=stage.attack,
            surrogate=base.averaged(wishes.eot),
            key=f"{self.setup.key} {stage.name}",
        )
        before = (int(outcome.broken.sum()), outcome.forwards.sum(), outcome.backwards.sum())
        plan = self._plan(stage, block)
        begin = time.perf_counter()
        reached = Pool(setup, objective).run_lanes(
            block, plan, outcome, lambda finished, broken: progress(broken, broken)
        )
        record = StageRecord(
            name=stage.name,
            objective=objective.name,
            note=joined([objective.note, stage.note]),
            surrogate=setup.surrogate.name,
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
        who = f"stage {stage.name!r} of attack {self.setup.spec.name!r}"
        limits = {"image": len(block), "target": self.setup.classes, "restart": MOST_RESTARTS}
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
        setup, exact = self.setup, self.setup.surrogate

        def clean_logits() -> torch.Tensor:
            objective = choose_objective("margin", setup.classes)
            seen = exact.evaluate(block.x, block.y, objective, gradient=False)
            outcome.forwards += exact.draws
            return seen.logits

        def distances(rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            draws = torch.full_like(rows, exact.draws)
            outcome.forwards.index_add_(0, rows, draws)
            outcome.backwards.index_add_(0, rows, draws * targets.shape[1])
            ball = setup.verifier.ball(block.x[rows])
            return linear_distances(
                exact, ball, block.y[rows], targets, setup.batch_size, setup.stop
            )

        # A copy: claims are verified against the block, whatever is written into the brief.
        x = block.x.clone()
        return Brief(
            x=x,
            y=block.y.clone(),
            ball=setup.verifier.ball(x),
            classes=setup.classes,
            random=setup.verifier.victim.draws > 1,
            has_gradient=setup.has_gradient,
            coarse_search=self._search != exact,
            _ask=clean_logits,
            _distances=distances if setup.has_gradient else None,
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
