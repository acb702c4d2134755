"""How often the cascade's statement about what its sample did not reach is true.

    python benchmarks/coverage_of_samples.py --data FOLDER --nets FOLDER --rows FILE --split choose

On each network every part of the battery attacks *all* survivors of the cascade's stages, each part
on its own. With that known, the cascade's procedure is run 1,000 times over with other samples:
what a part breaks of a sample is looked up, what is sent on as well. In each, the number of images
that are left and that some part breaks is held against the number that the cascade states. Rows are
kept in FILE as JSON lines; the tables are made from all of them, the newest of a network counts.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from common import conditions, record, table
from development.plans import ALL_NORMS
from development_models import (
    PLANS,
    held_out,
    load,
    measuring_options,
    of_split,
    radius,
    weights_hash,
)
from numpy.typing import NDArray
from subjects import subject_of_tensors
from whole_cascade import WholeCascade

from auditor.cells.sampling import Positions, sampled
from auditor.results import SampleEvidence

BATCH = 128
REDRAWS = 1000
#: Sizes of the sample, those that profiles set.
SAMPLES = (20, 40)
CONFIDENCE = 0.95
Row = dict[str, Any]


def measure(name: str, norm: str, arguments: argparse.Namespace) -> Row:
    """What each part of the battery breaks of the survivors; places in the block of images."""
    x, y = held_out(name, arguments.data, arguments.images)
    subject = subject_of_tensors(name, load(name, arguments.nets), x, y)
    epsilon, begin = radius(name, norm), time.process_time()
    whole = WholeCascade(subject, norm, epsilon, BATCH, arguments.seed)
    survivors = (~whole.cheap().broken).nonzero().flatten().numpy()
    broken: dict[str, list[int]] = {part: [] for part in whole.battery()}
    for label, part in whole.battery().items() if len(survivors) else ():
        outcome, _ = whole.part(part, survivors)
        broken[label] = survivors[outcome.broken.numpy()].tolist()
        print(f"{name} {norm}: {label} breaks {len(broken[label])} of {len(survivors)}", flush=True)
    return {
        "name": name, "norm": norm, "epsilon": epsilon, "images": arguments.images,
        "weights": weights_hash(name, arguments.nets), "seed": arguments.seed,
        "attacked": len(subject.block), "survivors": survivors.tolist(), "broken": broken,
        "seconds": time.process_time() - begin,
    }  # fmt: skip


def redraw(row: Row, sample: int, number: int) -> tuple[SampleEvidence, int]:
    """One run of the procedure: what it states, and how many breakable images it really leaves."""
    generator = np.random.default_rng([row["seed"], number])
    broken = {part: np.array(rows, np.int64) for part, rows in row["broken"].items()}

    def draw(number: int, positions: Positions) -> NDArray[np.float64]:
        return generator.random(len(positions))

    alive = np.array(row["survivors"], np.int64)
    steps = sampled(alive, tuple(broken), sample, CONFIDENCE, draw)
    try:
        order = next(steps)
        while True:
            fell = np.intersect1d(order.positions, broken[order.part])
            alive = np.setdiff1d(alive, fell)
            order = steps.send(fell)
    except StopIteration as stop:
        breakable = np.unique(np.concatenate(list(broken.values())))
        return stop.value, len(np.intersect1d(alive, breakable))


def lines_of(row: Row) -> list[list[str]]:
    """A line per size of sample."""
    lines = []
    breakable = len(set().union(*row["broken"].values()))
    for sample in SAMPLES:
        seen = [redraw(row, sample, number) for number in range(REDRAWS)]
        true = sum(left <= evidence.most for evidence, left in seen) / REDRAWS
        left = np.mean([left for _, left in seen])
        stated = np.mean([evidence.most for evidence, _ in seen])
        rounds = np.mean([len(evidence.rounds) for evidence, _ in seen])
        lines.append([
            row["name"], row["norm"], str(row["attacked"]), str(len(row["survivors"])),
            str(breakable), str(sample), f"{rounds:.2f}", f"{left:.2f}", f"{stated:.1f}",
            f"{true:.1%}", "holds" if true >= CONFIDENCE else "DOES NOT HOLD",
        ])  # fmt: skip
    return lines


def text(rows: list[Row], said: str) -> str:
    """The whole section."""
    header = ["network", "norm", "attacked", "survivors", "breakable", "sample", "samples drawn",
              "left breakable", "stated", f"true in (required: {CONFIDENCE:.0%})", ""]  # fmt: skip
    newest = {(row["name"], row["norm"]): row for row in rows}
    order = list(PLANS)
    parts = [
        f"## Coverage of the cascade's statement\n\n{said} {REDRAWS} redrawn samples each; the "
        'columns from "samples drawn" to "stated" are means over them.'
    ]
    for split, title in (("measure", "Networks that are only ever measured"),
                         ("choose", "Networks on which settings were chosen")):  # fmt: skip
        mine = [row for row in newest.values() if PLANS[row["name"]].split == split]
        mine.sort(key=lambda row: order.index(row["name"]))
        if mine:
            lines = [line for row in mine for line in lines_of(row)]
            parts.append(f"### {title}\n\n{table(header, lines)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure what is asked for, and make the tables."""
    arguments = measuring_options(__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    for name in arguments.only or (of_split(arguments.split) if arguments.split else []):
        for norm in PLANS[name].norms:
            if norm in (arguments.norm or ALL_NORMS):
                row = measure(name, norm, arguments)
                with arguments.rows.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    rows = [json.loads(line) for line in arguments.rows.read_text(encoding="utf-8").splitlines()]
    said = conditions(("robustness-auditor", "torch"), repeats=1)
    record("coverage_of_samples", text(rows, said), write=arguments.write)


if __name__ == "__main__":
    main()
