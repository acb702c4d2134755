"""The cascade on the development networks: what peers still break of what it leaves, and its time.

    python benchmarks/cascade_networks.py --data FOLDER --nets FOLDER --rows FILE --split choose
    python benchmarks/cascade_networks.py --data FOLDER --nets FOLDER --rows FILE --times --write

For each network and norm the cascade attacks 300 held-out images as an audit does; then AutoAttack,
ours and peers', attack its survivors alone. With `--times`, on the four networks that
`development/plans.py` names, everybody attacks the same images in whole, one after another in this
process on one thread. Rows are kept in FILE as JSON lines, so that it can be done in parts; the
newest of a kind counts, and the tables are made from all of them. `--split measure` and `--times`
are for the end: no setting may be chosen by what they show.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import peers
import torch
from cascade_tables import text
from common import conditions, record
from development.plans import ALL_NORMS, TIMED
from development_models import (
    PLANS,
    held_out,
    load,
    measuring_options,
    of_split,
    radius,
    weights_hash,
)
from schedules import schedules
from subjects import Counted, Subject, subject_of_tensors
from whole_cascade import WholeCascade

from auditor.attacking.setup import Setup

BATCH = 128
PEERS = ("pyautoattack", "torchattacks")
#: Images that every contender attacks once before it is timed, and how many the cascade attacks
#: alone.
WARM_UP, MANY = 4, 2000


class Case:
    """A network, a norm and held-out images that it classifies correctly."""

    def __init__(self, name: str, norm: str, images: int, arguments: argparse.Namespace) -> None:
        self.name, self.norm, self.images = name, norm, images
        self.seed, self.nets = arguments.seed, arguments.nets
        self.epsilon, self.plan = radius(name, norm), PLANS[name]
        x, y = held_out(name, arguments.data, images)
        self.subject = subject_of_tensors(name, load(name, self.nets), x, y)

    def cascade(self, subject: Subject) -> tuple[torch.Tensor, dict[str, Any]]:
        """Points (n, C, H, W) of the cascade as an audit runs it, and what it says of itself."""
        whole = WholeCascade(subject, self.norm, self.epsilon, BATCH, self.seed)
        evidence = whole.run()
        stages = [asdict(stage) for stage in whole.stages]
        return whole.points, {"evidence": asdict(evidence), "stages": stages}

    def ours(self, setup: Setup, subject: Subject) -> tuple[torch.Tensor, dict[str, Any]]:
        """The same of any other attack."""
        outcome, log = subject.attacked(setup)
        return outcome.adversarial, {"stages": [asdict(stage) for stage in log.stages]}

    def peer(self, name: str, subject: Subject) -> torch.Tensor:
        """The points of an AutoAttack, ours or another's."""
        if name == "autoattack":
            settings = ({}, self.norm, self.epsilon, BATCH, self.seed)
            return self.ours(subject.setup("autoattack", *settings), subject)[0]
        attack = {"pyautoattack": peers.pyautoattack_autoattack,
                  "torchattacks": peers.torchattacks_autoattack}[name]  # fmt: skip
        block, module = subject.block, subject.victim.module
        task = peers.Task(module, block.x, block.y, self.norm, self.epsilon, self.seed,
                          classes=self.plan.classes)  # fmt: skip
        return attack(task)

    def timed(
        self, attack: Callable[[Subject], tuple[torch.Tensor, dict[str, Any]]], subject: Subject
    ) -> dict[str, Any]:
        """CPU seconds, passes, and the ids of the images that withstand, judged by the verifier."""
        module = self.subject.victim.module
        assert isinstance(module, Counted)
        module.passes()
        begin = time.process_time()
        points, said = attack(subject)
        seconds, passes = time.process_time() - begin, module.passes()
        robust = subject.robust(points, self.norm, self.epsilon)
        survivors = subject.block.image[robust].tolist()
        return {"seconds": seconds, "passes": passes, "survivors": survivors} | said

    def row(self, kind: str) -> dict[str, Any]:
        """What was attacked."""
        return {
            "kind": kind, "name": self.name, "norm": self.norm, "epsilon": self.epsilon,
            "weights": weights_hash(self.name, self.nets), "images": self.images,
            "seed": self.seed, "attacked": len(self.subject.block),
        }  # fmt: skip


def survivors(case: Case, names: list[str]) -> dict[str, Any]:
    """The cascade in whole, then each of `names` on the images that it leaves."""
    row = case.row("survivors")
    row["cascade"] = case.timed(case.cascade, case.subject)
    left = case.subject.at(
        torch.isin(case.subject.block.image, torch.tensor(row["cascade"]["survivors"]))
    )
    row["by"] = {}
    for name in names if len(left.block) else []:
        row["by"][name] = case.timed(lambda part, name=name: (case.peer(name, part), {}), left)
        _tell(case, name, row["by"][name], len(left.block))
    return row


def times(case: Case, names: list[str]) -> dict[str, Any]:
    """Everybody on all images, in one run."""
    row, few = case.row("times"), case.subject.first(WARM_UP)
    contenders: dict[str, Callable[[Subject], tuple[torch.Tensor, dict[str, Any]]]] = {
        "cascade": case.cascade,
        **{name: lambda part, name=name: (case.peer(name, part), {}) for name in names},
    }
    for name, attack in schedules(case.subject.victim.module, case.seed).items():
        if case.norm in attack.attack_spec.norms:
            settings = (attack, name, case.norm, case.epsilon, BATCH, case.seed)
            contenders[name] = lambda part, settings=settings: case.ours(
                part.setup_of(*settings), part
            )
    row["by"] = {}
    for name, attack in contenders.items():
        attack(few)
        row["by"][name] = case.timed(attack, case.subject)
        _tell(case, name, row["by"][name], len(case.subject.block))
    return row


def many(case: Case) -> dict[str, Any]:
    """The cascade alone on more images."""
    row = case.row("many")
    row["by"] = {"cascade": case.timed(case.cascade, case.subject)}
    _tell(case, "cascade", row["by"]["cascade"], len(case.subject.block))
    return row


def _tell(case: Case, name: str, found: dict[str, Any], attacked: int) -> None:
    print(f"{case.name} {case.norm} {case.epsilon}: {name} leaves {len(found['survivors'])} of "
          f"{attacked} in {found['seconds']:.1f} s", flush=True)  # fmt: skip


def available(names: list[str]) -> list[str]:
    """Those of the peers that are installed; ours always is."""
    return [name for name in names if name == "autoattack" or importlib.util.find_spec(name)]


def rows_to_measure(arguments: argparse.Namespace) -> list[Callable[[], dict[str, Any]]]:
    """What the options ask for, in the order of the table of networks."""
    names = arguments.only or (of_split(arguments.split) if arguments.split else [])
    if arguments.times:
        names = arguments.only or list(TIMED)
    work: list[Callable[[], dict[str, Any]]] = []
    for name in names:
        for norm in arguments.norm or ALL_NORMS:
            if norm not in PLANS[name].norms:
                continue

            def case(count: int, name: str = name, norm: str = norm) -> Case:
                return Case(name, norm, count, arguments)

            here = [peer for peer in available(arguments.peer)
                    if not (peer == "torchattacks" and norm == "l1")]  # fmt: skip
            if arguments.times:
                work.append(lambda case=case, here=here: times(case(arguments.images), here))
                work.append(lambda case=case: many(case(arguments.many)))
            else:
                work.append(lambda case=case, here=here: survivors(case(arguments.images), here))
    return work


def main() -> None:
    """Measure what is asked for, and make the tables."""
    parser = measuring_options(__doc__.splitlines()[0])
    parser.add_argument("--times", action="store_true", help="measure times, everybody in whole")
    parser.add_argument("--many", type=int, default=MANY, help="of --times, by the cascade alone")
    parser.add_argument("--peer", action="append", choices=("autoattack", *PEERS),
                        help="default: autoattack, and the peers installed")  # fmt: skip
    parser.add_argument("--part", default="cascade_networks", help="what --write replaces")
    arguments = parser.parse_args()
    arguments.peer = arguments.peer or ["autoattack", *PEERS]
    torch.set_num_threads(1)
    for measure in rows_to_measure(arguments):
        row = measure()
        with arguments.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()
    packages = ("robustness-auditor", "torch", *available(list(PEERS)))
    section = text([json.loads(line) for line in lines], conditions(packages, repeats=1))
    record(arguments.part, section, write=arguments.write)


if __name__ == "__main__":
    main()
