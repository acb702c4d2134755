"""Samples an attack's survivors: the work that `sampling` asks for, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.cells.cell import CellRunner, ModelUnderAudit, raised_in_a_cell
from auditor.cells.columns import AttackOutcome
from auditor.cells.ledger import CellRecord, Ledger
from auditor.cells.plan import Cell, Further, cut, sample_price
from auditor.cells.sampling import Order, Positions, Withstood, sampled
from auditor.maths.randomness import Noise
from auditor.protocols.composite import Part, Situation
from auditor.protocols.events import CellProgress, CellStarted, Listener, SampleDone


@dataclass(frozen=True)
class Finished:
    """A cell that is finished: what came of it, its file, and whether it was before."""

    record: CellRecord
    file: Path
    reused: bool


def finished(
    runner: CellRunner,
    ledger: Ledger,
    listener: Listener,
    cell: Cell,
    model: ModelUnderAudit,
    title: str,
) -> Finished:
    """Run a cell and keep it, or read it if it is finished.

    Raises:
        CellError, OutOfTimeError: as `CellRunner.run`.
    """
    key = runner.key(cell, model)
    record = runner.kept(ledger, cell, model)
    reused = record is not None
    if record is None:
        record = runner.run(cell, model, lambda done, broken: listener(CellProgress(done, broken)))
        record = ledger.write(key, record)
        ledger.log("cell", cell=title, key=key, seconds=record.meta.seconds)
    return Finished(record, ledger.cell_path(key), reused)


@dataclass(frozen=True)
class Sampler:
    """Holds what a composite attack left against everything that it has."""

    runner: CellRunner
    ledger: Ledger
    listener: Listener

    def run(
        self, cell: Cell, model: ModelUnderAudit, target: AttackOutcome, had: Withstood
    ) -> None:
        """Sample the survivors of the whole attack, once all of its blocks are in `target`.

        Args:
            cell: any of the attack's cells.
            had: what images are known to withstand from larger epsilons; this one adds to it.

        Raises:
            CellError, OutOfTimeError: as `CellRunner.run`; what was found until then is kept.
        """
        attack = cell.plan.attack
        situation = Situation(
            norm=cell.norm,
            classes=model.preflight.classes,
            random=model.victim.draws > 1,
            has_gradient=model.preflight.has_gradient or cell.plan.surrogate is not None,
        )
        with raised_in_a_cell():
            battery = {part.name: part for part in attack.battery(situation)}
            size, confidence = attack.sample, attack.confidence
        survivors = np.flatnonzero(model.preflight.correct & ~target.broken)
        steps = sampled(
            survivors,
            tuple(battery),
            size,
            confidence,
            lambda number, positions: self._drawn(cell, number, positions),
            had,
        )
        try:
            order = next(steps)
            while True:
                order = steps.send(self._one(cell, battery[order.part], order, model, target))
        except StopIteration as stop:
            target.evidence = stop.value
            images = len(self.runner.samples)
            planned = sample_price(cell, images)
            cost = planned.forwards + planned.backwards if planned else 0
            self.listener(SampleDone(cell.title, stop.value, images, cost))

    def _drawn(self, cell: Cell, number: int, positions: Positions) -> NDArray[np.float64]:
        """A number for each image, by which a sample is chosen: of seed, image and norm alone.

        It is the same at every epsilon, so that samples share as many images as they can.
        """
        image = torch.from_numpy(self.runner.samples.keys[positions])
        purpose = ("sample", cell.norm)
        again = torch.full_like(image, number)
        noise = Noise(self.runner.seed, purpose, image, again, again, torch.float64)
        return np.asarray(noise.uniform(1)[:, 0].numpy())

    def _one(
        self, cell: Cell, part: Part, order: Order, model: ModelUnderAudit, target: AttackOutcome
    ) -> Positions:
        """Make one attack, or read it where it is finished; returns the positions that fell."""
        stage = f"sample: {part.name}" if order.sample else f"{part.name}, sent on"
        title = f"{cell.title}, {stage}"
        self.listener(CellStarted(title, len(order.positions), len(order.positions)))
        fell = [np.zeros(0, np.int64)]
        samples = self.runner.samples
        size = cut(len(samples), samples.shape)[0].stop  # as many as are in memory at once
        for start in range(0, len(order.positions), size):
            positions = order.positions[start : start + size]
            further = Further(part, positions, stage)
            one = replace(cell, block=slice(0, len(samples)), further=further)
            made = finished(self.runner, self.ledger, self.listener, one, model, title)
            fell.append(target.add(made.record, made.file))
        return np.concatenate(fell)
