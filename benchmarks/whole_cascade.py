"""The cascade as an audit runs it: its stages, then a random sample of what they leave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from subjects import Subject

from auditor.attacking.outcome import Outcome
from auditor.attacking.stages import StageRecord
from auditor.cells.sampling import Order, Positions, sampled
from auditor.maths.randomness import Noise
from auditor.protocols.composite import Part, Situation
from auditor.results import SampleEvidence

#: The cascade's parameters, as `auditor show cascade` has them.
Parameters = dict[str, Any]


@dataclass
class WholeCascade:
    """One run of it on a subject whose model has a gradient and draws no random numbers.

    `points` (n, C, H, W) are the adversarial examples, `stages` what was done, as an attack's log
    tells it, the sample's work included.
    """

    subject: Subject
    norm: str
    epsilon: float
    batch_size: int
    seed: int = 0
    parameters: Parameters = field(default_factory=dict)
    points: torch.Tensor = field(init=False)
    stages: list[StageRecord] = field(init=False)

    def run(self) -> SampleEvidence:
        """Attack; what is returned is what the sample showed."""
        outcome = self.cheap()
        survivors = (~outcome.broken).nonzero().flatten().numpy()
        cascade, battery = self._cascade(), self.battery()
        steps = sampled(survivors, tuple(battery), cascade.sample, cascade.confidence, self.drawn)
        try:
            order = next(steps)
            while True:
                order = steps.send(self._one(battery[order.part], order))
        except StopIteration as stop:
            evidence: SampleEvidence = stop.value
            return evidence

    def cheap(self) -> Outcome:
        """The stages alone."""
        setup = self.subject.setup(
            "cascade", self.parameters, self.norm, self.epsilon, self.batch_size, self.seed
        )
        outcome, log = self.subject.attacked(setup)
        self.points, self.stages = outcome.adversarial, log.stages
        return outcome

    def battery(self) -> dict[str, Part]:
        """Everything that a sample is attacked with, by name."""
        classes = self.subject.victim.logits(self.subject.block.x[:1]).shape[1]
        situation = Situation(self.norm, classes, random=False, has_gradient=True)
        return {part.name: part for part in self._cascade().battery(situation)}

    def part(self, part: Part, positions: Positions) -> tuple[Outcome, StageRecord]:
        """One part on the images at these places of the block; its outcome and its only stage."""
        some = self.subject.at(torch.from_numpy(positions))
        setup = some.setup(
            "cascade", self.parameters, self.norm, self.epsilon, self.batch_size, self.seed
        )
        outcome, log = some.attacked(replace(setup, attack=part))
        return outcome, log.stages[0]

    def drawn(self, number: int, positions: Positions) -> NDArray[np.float64]:
        """What the engine chooses a sample by: a number of seed, image and norm alone."""
        image = self.subject.block.image[torch.from_numpy(positions)]
        again = torch.full_like(image, number)
        purpose = ("sample", self.norm)
        noise = Noise(self.seed, purpose, image, again, again, torch.float64)
        return np.asarray(noise.uniform(1)[:, 0].numpy())

    def _cascade(self) -> Any:
        return self.subject.registry.attacks["cascade"].build(self.parameters)

    def _one(self, part: Part, order: Order) -> Positions:
        outcome, stage = self.part(part, order.positions)
        name = f"sample: {part.name}" if order.sample else f"{part.name}, sent on"
        self.stages.append(replace(stage, name=name))
        fell = order.positions[outcome.broken.numpy()]
        self.points[torch.from_numpy(fell)] = outcome.adversarial[outcome.broken]
        return fell
