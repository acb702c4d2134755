"""APGD, FAB and Square of auditor, each beside the same attack of torchattacks and pyautoattack.

    python attack_peers.py --rows FILE [--only apgd-ce:linf ...] [--write]

In every comparison all get the same model, correctly classified images, batches and budget, and
run one after another in this process, on one thread. What they return is judged by auditor's
verifier. Rows are kept in FILE as JSON lines, so that the comparisons can be made in parts; the
tables are made from all rows of the file. torchattacks has none of these attacks in l1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import torch
from autoattack_peers import Setting, measure
from common import conditions, options, record, table
from subjects import Subject, example

MODEL = "pgd-trained"
EPSILONS = {"linf": "0.1", "l2": "1.5", "l1": "12"}
#: The budgets: steps of APGD, iterations of FAB, points of Square; what APGD-T and FAB-T aim at.
STEPS, ITERATIONS, QUERIES = 50, 50, 1000
TARGETS = 3
#: auditor's attack and parameters; the peers' function, by its name after the peer, and parameters.
ATTACKS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "apgd-ce": ("apgd", {"steps": STEPS}, "apgd", {"steps": STEPS}),
    "apgd-dlr": ("apgd", {"steps": STEPS, "loss": "dlr"}, "apgd", {"steps": STEPS, "loss": "dlr"}),
    "apgd-t": (
        "apgd", {"steps": STEPS, "loss": "dlr", "targets": TARGETS},
        "apgd", {"steps": STEPS, "loss": "targeted"},
    ),
    "fab-t": (
        "fab", {"iterations": ITERATIONS, "targets": TARGETS, "minimise": False},
        "fab", {"steps": ITERATIONS},
    ),
    # The start is one of auditor's points, and comes on top of the peers'.
    "square": ("square", {"queries": QUERIES}, "square", {"queries": QUERIES - 1}),
}  # fmt: skip
COMPARISONS = [f"{attack}:{norm}" for norm in EPSILONS for attack in ATTACKS]
OURS, PEERS = "auditor", ("torchattacks", "pyautoattack")
#: The requirement: robust accuracies within so many points of each other.
LIMIT = 1.0


@dataclass(frozen=True)
class Comparison(Setting):
    """One attack in one norm; every contender gets exactly this."""

    attack: str

    def contenders(self) -> dict[str, Callable[[Subject], torch.Tensor]]:
        """What returns points (n, C, H, W) for the images of a subject."""
        use, parameters, name, their_parameters = ATTACKS[self.attack]

        def ours(subject: Subject) -> torch.Tensor:
            setup = subject.setup(use, parameters, self.norm, self.size, self.batch_size)
            return subject.attacked(setup)[0].adversarial

        def theirs(peer: str) -> Callable[[Subject], torch.Tensor]:
            attack = getattr(peers, f"{peer}_{name}")
            return lambda subject: attack(self._task(subject), **their_parameters)

        there = [peer for peer in PEERS if self.norm != "l1" or peer != "torchattacks"]
        return {OURS: ours, **{peer: theirs(peer) for peer in there}}

    def _task(self, subject: Subject) -> peers.Task:
        block = subject.block
        return peers.Task(
            subject.victim.module, block.x, block.y, self.norm, self.size,
            batch_size=self.batch_size, targets=TARGETS,
        )  # fmt: skip


def difference(row: dict[str, Any], peer: str) -> float:
    """Robust accuracy that the peer leaves minus that which auditor leaves, in points."""
    left = {name: sum(found["robust"]) for name, found in row["by"].items()}
    return 100 * (left[peer] - left[OURS]) / row["images"]


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    """Robust accuracies, and in how many images auditor's verdict is the peer's."""
    lines = []
    for row in rows:
        mine = row["by"][OURS]["robust"]
        line = [row["attack"], row["norm"], row["epsilon"], f"{sum(mine) / row['images']:.1%}"]
        agreements = []
        for peer in PEERS:
            if peer not in row["by"]:
                line.append("")
                agreements.append("")
                continue
            robust = row["by"][peer]["robust"]
            line.append(f"{sum(robust) / row['images']:.1%} ({difference(row, peer):+.1f})")
            # Images that the model gets wrong are the same for everybody.
            only_it = sum(a > b for a, b in zip(mine, robust, strict=True))
            only_we = sum(a < b for a, b in zip(mine, robust, strict=True))
            same = 1 - (only_it + only_we) / row["images"]
            agreements.append(f"{same:.1%} ({only_it} / {only_we})")
        lines.append([*line, *agreements])
    header = ["attack", "norm", "epsilon", OURS, *(f"{peer} (minus auditor)" for peer in PEERS),
              *(f"same verdict as {peer} (only it / only we)" for peer in PEERS)]  # fmt: skip
    return table(header, lines)


def cost_table(rows: list[dict[str, Any]]) -> str:
    """Passes per attacked image, forwards + backwards, and auditor's time as a part of theirs."""
    lines = []
    for row in rows:
        by = row["by"]
        passes = {name: [count / row["attacked"] for count in found["passes"]]
                  for name, found in by.items()}  # fmt: skip
        each = [
            "{:,.1f} + {:,.1f}".format(*passes[name]) if name in by else ""
            for name in (OURS, *PEERS)
        ]
        ratios = [
            f"{by[OURS]['seconds'] / by[peer]['seconds']:.2f}" if peer in by else ""
            for peer in PEERS
        ]
        lines.append([row["attack"], row["norm"], *each, f"{by[OURS]['seconds']:.1f} s", *ratios])
    header = ["attack", "norm", *(f"passes, {name}" for name in (OURS, *PEERS)), "time, auditor",
              *(f"auditor / {peer}" for peer in PEERS)]  # fmt: skip
    return table(header, lines)


def requirement(rows: list[dict[str, Any]]) -> str:
    """Whether robust accuracies are as close as required, attack by attack."""
    lines = []
    for attack in ATTACKS:
        found = {
            f"{difference(row, peer):+.1f} ({peer}, {row['norm']})": difference(row, peer)
            for row in rows if row["attack"] == attack for peer in PEERS if peer in row["by"]
        }  # fmt: skip
        if found:
            furthest = max(found, key=lambda name: abs(found[name]))
            ahead = min(found, key=lambda name: found[name])
            holds = abs(found[furthest]) <= LIMIT
            lines.append([attack, furthest, f"{LIMIT:g}", "holds" if holds else "DOES NOT HOLD",
                          ahead if found[ahead] < 0 else "none"])  # fmt: skip
    header = ["attack", "furthest apart, points", "limit", "", "where a peer is furthest ahead"]
    return table(header, lines)


def main() -> None:
    """Measure what is asked for, and make the tables."""
    parser = options((__doc__ or "").splitlines()[0], repeats=1)
    parser.add_argument("--rows", type=Path, required=True, help="file of measurements")
    parser.add_argument("--only", nargs="*", choices=COMPARISONS, default=COMPARISONS,
                        help="comparisons to make; none: the tables alone (all)")  # fmt: skip
    parser.add_argument("--images", type=int, default=500, help="%(default)s")
    parser.add_argument("--batch-size", type=int, default=128, help="%(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for text in args.only:
        attack, norm = text.split(":")
        print(text, flush=True)
        subject = example(MODEL, args.images)
        row = measure(Comparison(subject, MODEL, norm, EPSILONS[norm], args.batch_size, attack))
        with args.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"attack": attack}) + "\n")
    lines = args.rows.read_text(encoding="utf-8").splitlines()
    found = {f"{row['attack']}:{row['norm']}": row for row in map(json.loads, lines)}
    rows = [found[text] for text in COMPARISONS if text in found]
    record("attack_peers", _text(rows, args), write=args.write)


def _text(rows: list[dict[str, Any]], args: argparse.Namespace) -> str:
    packages = ("robustness-auditor", "torch", "torchattacks", "pyautoattack")
    return f"""## APGD, FAB and Square side by side with peers

{conditions(packages, repeats=1)} {rows[0]["images"]} images, batches of {args.batch_size}, \
model {MODEL}, weights {rows[0]["weights"]}.

APGD takes {STEPS} steps, FAB {ITERATIONS} iterations, Square {QUERIES:,} points with the paper's \
schedule of sizes; APGD-T and FAB-T aim at {TARGETS} classes. One start each.

{accuracy_table(rows)}

### Passes per attacked image, and time

{cost_table(rows)}

"Minus auditor": in points; above 0, auditor breaks more. "Only it / only we": images that only \
the peer, or only auditor, breaks. auditor's time includes the verification of every success, on \
the pixels as found and as an 8-bit image; an image that fell takes no further steps. Peers' APGD \
and FAB take all steps of a target with every image.

### What was required

{requirement(rows)}
"""


if __name__ == "__main__":
    main()
