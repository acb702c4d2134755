"""The images as the cascade's own stages see them: who stands, how close, which class to aim at."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from typing import Any

import torch

from auditor.api import Brief, Stage, Standing, likeliest_rivals

Stages = Generator[Stage, Standing, None]


class Field:
    """What is known of the images so far; `run` hands a stage to the engine."""

    def __init__(self, brief: Brief) -> None:
        n, device = len(brief.y), brief.y.device
        self.brief = brief
        self.standing = Standing(
            fallen=torch.zeros(n, dtype=torch.bool, device=device),
            margin=torch.full((n,), -torch.inf, dtype=torch.float64, device=device),
            best=brief.x,
            untrusted=torch.zeros(n, dtype=torch.bool, device=device),
            lane_margin=torch.zeros(0, dtype=torch.float64, device=device),
            nearest=torch.full((n,), torch.inf, dtype=torch.float64, device=device),
        )

    def run(self, stage: Stage) -> Stages:
        """Yield a stage, unless it has no lanes, and keep what came of it."""
        if not len(stage.image):
            return
        self.standing = yield stage
        if stage.target is not None:
            place = stage.image * self.brief.classes + stage.target
            self._reach.view(-1).scatter_reduce_(0, place, self.standing.lane_margin, "amax")

    @property
    def alive(self) -> torch.Tensor:
        """(m,) rows of the survivors."""
        return (~self.standing.fallen).nonzero().flatten()

    @cached_property
    def _reach(self) -> torch.Tensor:
        """(n, K) float64, the largest z_k - z_y that is known to be within reach."""
        z = self.brief.logits.double()
        return z - z.gather(1, self.brief.y[:, None])

    @cached_property
    def _clean_margin(self) -> torch.Tensor:
        """(n,) float64, negative."""
        return self._reach.scatter(1, self.brief.y[:, None], -torch.inf).amax(1)

    def shortfall(self, rows: torch.Tensor) -> torch.Tensor:
        """(m,) how much more these images have to lose, as a part of what they have lost so far.

        With the clean margin M < 0 and the best m so far, -m / (m - M): it does not depend on the
        scale of the logits. Infinite where nothing was gained.
        """
        margin = self.standing.margin[rows]
        gain = margin - self._clean_margin[rows]
        return torch.where(gain > 0, -margin / gain, torch.inf)

    def within(self, limit: float) -> torch.Tensor:
        """(m,) rows of the survivors whose shortfall is at most `limit`, in their order."""
        alive = self.alive
        return alive[self.shortfall(alive) <= limit] if len(alive) else alive

    def aimed(self, name: str, attack: Any, image: torch.Tensor, targets: int) -> Stage:
        """`attack` side by side at the wrong classes that came closest to winning."""
        rivals = likeliest_rivals(self._reach, self.brief.y, targets)[image]
        image = image.repeat_interleave(rivals.shape[1])
        return Stage(name, attack, image, target=rivals.flatten())
