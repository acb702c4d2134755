"""Runs an attack that keeps its own loop: batches in, candidates out, each verified."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.attacking.claims import Claims, note_best
from auditor.attacking.lanes import Lanes
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.pool import AttackDefectError, reached_at
from auditor.attacking.setup import Progress, Setup, proceed
from auditor.maths.objectives import Objective
from auditor.maths.randomness import Noise, derive_key, generators_seeded
from auditor.protocols.attack import Task


@dataclass(frozen=True)
class OwnLoop:
    """Runs such an attack with its setup, and looks at what it returns with an objective.

    Images are handed over in batches of `batch_size`, restart by restart, those that withstood.
    The generators of torch, NumPy and Python are seeded for each batch, and put back.
    """

    setup: Setup
    objective: Objective

    def run(self, block: Block, progress: Progress) -> Outcome:
        """Attack every image of the block.

        Raises:
            AttackDefectError: the attack broke the protocol.
            OutOfTimeError: `stop` says so, which is looked at between two batches.
        """
        restarts, size = self.setup.wishes.restarts, self.setup.batch_size
        outcome = Outcome.empty(block, restarts)
        trust = self.setup.trusts(self.objective)
        claims = Claims(block, outcome, self.setup.verifier, self.setup.wishes, trust)
        for restart in range(restarts):
            withstood = (~outcome.broken).nonzero().flatten()
            for start in range(0, len(withstood), size):
                rows = withstood[start : start + size]
                proceed(self.setup.stop)
                self._batch(rows, restart, claims)
                if restart == restarts - 1:
                    progress(int(rows[-1]) + 1, int(outcome.broken.sum()))
        progress(len(block), int(outcome.broken.sum()))
        return outcome

    def _batch(self, rows: torch.Tensor, restart: int, claims: Claims) -> None:
        outcome, surrogate = claims.outcome, self.setup.surrogate
        lanes = self._lanes(claims.block, rows, restart)
        passes = surrogate.model.passes
        before = passes.forwards, passes.backwards
        points = self._perturbed(lanes)
        spent = passes.forwards - before[0], passes.backwards - before[1]
        seen = surrogate.evaluate(points, lanes.y, self.objective, gradient=False)
        reached, some_hit = reached_at(seen.logits, lanes.y)
        reached = reached[:, None]
        note_best(lanes, points, claims.inside(lanes, points, reached))
        if some_hit:
            claims.claim(lanes, points, reached)
        claims.claim_nearest(lanes)
        forwards, backwards = (_shared(total, len(lanes), points.device) for total in spent)
        outcome.note_end(lanes, seen.loss, (forwards + surrogate.draws, backwards))
        if self.setup.challenge:
            looked_at = forwards // surrogate.draws + 1
            outcome.note_challenge(self.setup.challenge, lanes.row, looked_at)

    def _lanes(self, block: Block, rows: torch.Tensor, restart: int) -> Lanes:
        x, never = block.x[rows], torch.full_like(rows, torch.inf, dtype=torch.float64)
        minimises = self.setup.wishes.minimises
        return Lanes(
            x=x,
            y=block.y[rows],
            image=block.image[rows],
            row=rows,
            number=rows,
            restart=torch.full_like(rows, restart),
            target=None,
            step=torch.zeros_like(rows),
            best=-never,
            best_point=None,
            nearest=never if minimises else None,
            nearest_point=x.clone() if minimises else None,
        )

    def _perturbed(self, lanes: Lanes) -> torch.Tensor:
        """The attack's candidates, if they are a tensor like the images."""
        setup, x, zero = self.setup, lanes.x.clone(), torch.zeros_like(lanes.row)
        task = Task(
            x=x,
            y=lanes.y.clone(),
            ball=setup.verifier.ball(x),
            step=zero,
            _noise=Noise(setup.seed, (setup.key,), lanes.image, lanes.restart, zero, x.dtype),
            restart=lanes.restart.clone(),
        )
        names = (setup.key, "perturb", *map(str, lanes.image.tolist()), str(int(lanes.restart[0])))
        seed = derive_key(setup.seed, *names)[0]
        with generators_seeded(seed, x.device), torch.enable_grad():
            found = setup.attack.perturb(setup.surrogate, task)
        who = f"attack {setup.spec.name!r}"
        if not isinstance(found, torch.Tensor):
            raise AttackDefectError(f"{who} returned {type(found).__name__}, not a tensor")
        if (found.shape, found.device) != (lanes.x.shape, lanes.x.device):
            raise AttackDefectError(
                f"{who} returned {tuple(found.shape)} on {found.device}, not images "
                f"{tuple(lanes.x.shape)} on {lanes.x.device}"
            )
        return found.detach().to(lanes.x.dtype)


def _shared(total: int, count: int, device: torch.device) -> torch.Tensor:
    """(count,) int64 that sum up to `total`, as even as can be."""
    each, rest = divmod(total, count)
    return torch.full((count,), each, device=device) + (torch.arange(count, device=device) < rest)
