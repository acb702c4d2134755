"""Targets in order of their linearised distance beside targets in order of their logits.

    python target_order.py --nets FOLDER --data FOLDER [--write]

What an untargeted sweep leaves is attacked at one wrong class after another, in either order, with
the same steps and random numbers; an image that falls is not attacked again. The classes compared
are those of a network that `development_models.py` trains.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from auditor_plugins.apgd import APGD
from common import conditions, record, table
from development_models import DATA_HELP, PLANS, held_out, load, radius, weights_hash

from auditor.api import GRADIENT, Brief, Stage, Standing, attack
from auditor.attacking.outcome import Block
from auditor.attacking.setup import Setup
from auditor.attacking.stages import Log, StageRecord, attack_block
from auditor.attacking.verify import Verifier
from auditor.protocols.attack import spec_of
from auditor.registry import load_registry
from auditor.subject.victim import Victim
from auditor.surrogate import naive

Order = Literal["logits", "distance"]
#: Classes aimed at, and after how many the table says where things stand.
TARGETS, SHOWN = 9, (1, 3, 9)
#: The attacks at each class: the objective, and its steps.
ATTACKS = (("margin", 20), ("margin", 100), ("dlr", 100))
SWEEP = APGD(steps=10, loss="margin")


@attack(name="in-order", norms={"linf", "l2", "l1"}, needs=GRADIENT, reference="none")
@dataclass(frozen=True)
class InOrder:
    """A sweep, then one class after another, in this order, on what is left."""

    order: Order
    loss: str
    steps: int

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """One stage a class."""
        every = torch.arange(len(brief.y))
        standing = yield Stage("sweep", SWEEP, every)
        alive = (~standing.fallen).nonzero()[:, 0]
        if self.order == "distance":
            rivals = brief.rivals_by_distance(alive, TARGETS)
        else:
            rivals = brief.rivals(TARGETS)[alive]
        for place, target in enumerate(rivals.unbind(1), 1):
            left = ~standing.fallen[alive]
            aimed = APGD(steps=self.steps, loss=self.loss)
            standing = yield Stage(f"target {place}", aimed, alive[left], target=target[left])
        return None


@dataclass(frozen=True)
class Setting:
    """A network with images that it classifies correctly, and a threat."""

    victim: Victim
    block: Block
    norm: str
    epsilon: float

    def run(self, composite: InOrder) -> tuple[list[StageRecord], int]:
        """What each stage did, and the passes of all, verification included."""
        registry = load_registry()
        setup = Setup(
            spec=spec_of(InOrder),
            attack=composite,
            surrogate=naive(self.victim),
            verifier=Verifier(self.victim, registry.norms[self.norm], self.epsilon),
            classes=self.victim.logits(self.block.x[:1]).shape[1],
            seed=0,
            key="order",  # the same for either order: the same random numbers for the same class
            batch_size=128,
        )
        outcome, log = attack_block(setup, self.block, lambda finished, broken: None)
        assert isinstance(log, Log)
        return log.stages, int(outcome.forwards.sum() + outcome.backwards.sum())


def setting(name: str, norm: str, count: int, nets: Path, data: Path) -> Setting:
    """A development network and its held-out images."""
    victim = Victim(name, load(name, nets))
    victim.seeded = False
    x, y = held_out(name, data, count)
    right = ~victim.judge(x, y).wrong
    rows = right.nonzero()[:, 0]
    return Setting(victim, Block(x[rows], y[rows], rows), norm, radius(name, norm))


def lines(where: list[str], here: Setting) -> list[list[str]]:
    """A row of the table for each attack and order."""
    found = []
    for loss, steps in ATTACKS:
        for order in get_args(Order):
            stages, total = here.run(InOrder(order, loss, steps))
            sweep, aimed = stages[0], stages[1:]
            spent = [stage.forwards + stage.backwards for stage in stages]
            # What is in no stage is what the order cost.
            ordering = total - sum(spent)
            cells = []
            for shown in SHOWN:
                broken = sum(stage.broken for stage in aimed[:shown])
                passes = ordering + sum(spent[1 : shown + 1])
                cells.append(f"{broken} for {passes:,}")
            survivors = len(here.block) - sweep.broken
            found.append([*where, str(survivors), f"{loss}, {steps} steps", order, *cells])
    return found


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nets", type=Path, required=True, help="folder with the weights")
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--models", nargs="+", choices=PLANS, default=["pairs-plain"])
    parser.add_argument("--images", type=int, default=500, help="held-out images (%(default)s)")
    parser.add_argument("--write", action="store_true", help="update this part of RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, hashes = [], []
    for name in arguments.models:
        hashes.append(f"{name} {weights_hash(name, arguments.nets)}")
        for norm in PLANS[name].norms:
            here = setting(name, norm, arguments.images, arguments.nets, arguments.data)
            rows += lines([name, norm, f"{here.epsilon:g}"], here)
    header = ["network", "norm", "epsilon", "survivors", "APGD", "order",
              *(f"after {count} targets" for count in SHOWN)]  # fmt: skip
    text = f"""## The order of targets where there are many classes

{conditions(("robustness-auditor", "torch"), repeats=1)} {arguments.images} held-out images; \
weights: {", ".join(hashes)}.

{table(header, rows)}

"Survivors": of {SWEEP.steps} untargeted steps on the margin. Then: how many of them fell, and the \
forward and backward passes that took. Those for the order are included: by distance, a forward \
pass for each survivor and a backward pass for each of the up to 100 classes with the largest \
logits.
"""
    record("target_order", text, write=arguments.write)


if __name__ == "__main__":
    main()
