"""AutoAttack and cascade of auditor beside the AutoAttack of torchattacks and pyautoattack.

    python autoattack_peers.py --rows FILE --setting pgd-trained:linf:0.1 [--setting ...] [--write]

Every setting is one comparison: all contenders attack the same correctly classified images, one
after another in this process, on one thread. What they return is judged by auditor's verifier.
Rows are kept in FILE as JSON lines, so that a long comparison can be made in parts; the tables are
made from all rows of the file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import peers
import torch
from common import conditions, options, record, table
from subjects import Counted, Subject, example, weights_hash

SETTINGS = [
    f"{model}:{norm}:{epsilon}"
    for model in ("pgd-trained", "baseline")
    for norm, sizes in (("linf", ("4/255", "8/255", "0.1")), ("l2", ("0.5", "1.5")))
    for epsilon in sizes
]
OURS = ("autoattack", "cascade")
#: torchattacks takes 10 steps where the paper and pyautoattack take 100; see `peers`.
SHIPPED, PUBLISHED = "torchattacks", "pyautoattack"
PEERS = (SHIPPED, PUBLISHED)
#: Images that every contender attacks once before it is timed.
WARM_UP = 4


@dataclass(frozen=True)
class Setting:
    """A model and a threat."""

    subject: Subject
    model: str
    norm: str
    epsilon: str
    batch_size: int

    @property
    def size(self) -> float:
        """Epsilon as a number."""
        return float(Fraction(self.epsilon))

    def contenders(self) -> dict[str, Callable[[Subject], torch.Tensor]]:
        """What returns points (n, C, H, W) for the images of a subject."""
        return {
            **{name: self._ours(name) for name in OURS},
            SHIPPED: lambda subject: peers.torchattacks_autoattack(self._task(subject)),
            PUBLISHED: lambda subject: peers.pyautoattack_autoattack(self._task(subject)),
        }

    def _ours(self, name: str) -> Callable[[Subject], torch.Tensor]:
        def attack(subject: Subject) -> torch.Tensor:
            setup = subject.setup(name, {}, self.norm, self.size, self.batch_size)
            return subject.attacked(setup)[0].adversarial

        return attack

    def _task(self, subject: Subject) -> peers.Task:
        block = subject.block
        return peers.Task(subject.victim.module, block.x, block.y, self.norm, self.size)


def measure(setting: Setting, only: list[str] | None = None) -> dict[str, Any]:
    """Seconds, passes and verdicts of every contender, or `only` of some."""
    subject, module = setting.subject, setting.subject.victim.module
    assert isinstance(module, Counted)
    row: dict[str, Any] = {
        "model": setting.model, "norm": setting.norm, "epsilon": setting.epsilon,
        "images": subject.total, "attacked": len(subject.block),
        "weights": weights_hash(setting.model), "by": {},
    }  # fmt: skip
    few = subject.first(WARM_UP)
    for name, attack in setting.contenders().items():
        if only and name not in only:
            continue
        attack(few)
        module.passes()
        begin = time.process_time()
        points = attack(subject)
        seconds = time.process_time() - begin
        passes = module.passes()
        robust = subject.robust(points, setting.norm, setting.size)
        module.passes()
        row["by"][name] = {"seconds": seconds, "passes": passes, "robust": robust.int().tolist()}
        print(f"{setting.model} {setting.norm} {setting.epsilon} {name}: {int(robust.sum())} of "
              f"{subject.total} in {seconds:.1f} s", flush=True)  # fmt: skip
    return row


def _who(row: dict[str, Any]) -> list[str]:
    return [row["model"], row["norm"], row["epsilon"], str(row["images"])]


def accuracy_table(rows: list[dict[str, Any]]) -> str:
    """Robust accuracies, and how far the verdicts of autoattack agree with each peer's."""
    names = (*OURS, *PEERS)
    lines = []
    for row in rows:
        robust = {name: row["by"][name]["robust"] for name in names}
        counts = [f"{sum(robust[name]) / row['images']:.1%}" for name in names]
        # Images that the model gets wrong are the same for everybody.
        different = [sum(a != b for a, b in zip(robust["autoattack"], robust[name], strict=True))
                     for name in PEERS]  # fmt: skip
        agree = [f"{1 - count / row['images']:.1%}" for count in different]
        lines.append([*_who(row), *counts, " / ".join(agree)])
    header = ["model", "norm", "epsilon", "images", *names, "autoattack agrees with the two"]
    return table(header, lines)


def part(row: dict[str, Any], name: str, peer: str) -> float:
    """The time of ours as a part of the peer's, of the same run where they shared one."""
    beside: float = row["by"][name]["beside"].get(peer, row["by"][peer]["seconds"])
    return float(row["by"][name]["seconds"] / beside)


def speed_table(rows: list[dict[str, Any]]) -> str:
    """Seconds, and ours as a part of each peer's."""
    lines = []
    for row in rows:
        ratios = [" / ".join(f"{part(row, name, peer):.3f}" for peer in PEERS) for name in OURS]
        times = [f"{row['by'][name]['seconds']:.1f} s" for name in (*OURS, *PEERS)]
        lines.append([*_who(row), *times, *ratios])
    header = ["model", "norm", "epsilon", "images", *OURS, *PEERS,
              *(f"{name} as a part of the two peers" for name in OURS)]  # fmt: skip
    return table(header, lines)


def passes_table(rows: list[dict[str, Any]]) -> str:
    """Passes per attacked image, forwards + backwards."""
    lines = []
    for row in rows:
        each = [
            "{:,.0f} + {:,.0f}".format(
                *(count / row["attacked"] for count in row["by"][name]["passes"])
            )
            for name in (*OURS, *PEERS)
        ]
        lines.append([*_who(row), *each])
    return table(["model", "norm", "epsilon", "images", *OURS, *PEERS], lines)


def requirements(rows: list[dict[str, Any]]) -> str:
    """The requirements, one line each, with what was measured at its worst."""
    lines = []
    for name, model, peer, limit in (
        ("autoattack", "pgd-trained", SHIPPED, 2 / 3),
        ("autoattack", "pgd-trained", PUBLISHED, 2 / 3),
        ("autoattack", "baseline", SHIPPED, 1.0),
        ("autoattack", "baseline", PUBLISHED, 1.0),
        ("cascade", "pgd-trained", SHIPPED, 1 / 10),
        ("cascade", "pgd-trained", PUBLISHED, 1 / 20),
        ("cascade", "baseline", SHIPPED, 1 / 3),
        ("cascade", "baseline", PUBLISHED, 1 / 20),
    ):
        found = [part(row, name, peer)
                 for row in rows if row["model"] == model and row["norm"] == "linf"]  # fmt: skip
        if found:
            verdict = "holds" if max(found) <= limit else "DOES NOT HOLD"
            lines.append([f"{name}, {model}, l-infinity: time as a part of {peer}'s",
                          f"at most {limit:.3f}", f"{min(found):.3f} to {max(found):.3f}",
                          verdict])  # fmt: skip
    for name in OURS:
        worst = max(
            sum(row["by"][name]["robust"]) - min(sum(row["by"][peer]["robust"]) for peer in PEERS)
            for row in rows
        )
        verdict = "holds" if worst <= 0 else "DOES NOT HOLD"
        lines.append([f"{name}: images it leaves that the best peer breaks, net",
                      "at most 0", f"{worst:+d}", verdict])  # fmt: skip
    return table(["requirement", "limit", "measured", ""], lines)


def merged(rows: list[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    """A row per setting: of every contender the newest measurement, and who ran beside it."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(_who(row)[:3])
        times = {name: one["seconds"] for name, one in row["by"].items()}
        new = {name: one | {"beside": times} for name, one in row["by"].items()}
        found[key] = row | {"by": found.get(key, {"by": {}})["by"] | new}
    return found


def _apart(rows: list[dict[str, Any]]) -> str:
    """Which quotients are of two runs."""
    late = [f"{name} to {peer} on {row['model']} in {row['norm']} {row['epsilon']}"
            for row in rows for name in OURS for peer in PEERS
            if peer not in row["by"][name]["beside"]]  # fmt: skip
    return f"Quotients of two runs, hours apart: {', '.join(late)}.\n" if late else ""


def main() -> None:
    """Measure what is asked for, and make the tables."""
    parser = options(__doc__.splitlines()[0], repeats=1)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--rows", type=Path, required=True, help="file of measurements")
    parser.add_argument("--setting", action="append", choices=SETTINGS, default=[])
    parser.add_argument("--again", action="append", choices=[*OURS, *PEERS], default=[],
                        help="measure this alone; the others stay as they were")  # fmt: skip
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for text in arguments.setting:
        model, norm, epsilon = text.split(":")
        subject = example(model, arguments.images)
        row = measure(Setting(subject, model, norm, epsilon, arguments.batch_size), arguments.again)
        with arguments.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()
    found = merged([json.loads(line) for line in lines])
    rows = [row for text in SETTINGS if (row := found.get(tuple(text.split(":"))))]
    hashes = ", ".join(f"{row['model']} {row['weights']}" for row in
                       {row["model"]: row for row in rows}.values())  # fmt: skip
    packages = ("robustness-auditor", "torch", "torchattacks", "pyautoattack")
    text = f"""## AutoAttack and cascade side by side with peers

{conditions(packages, repeats=1)} Batches of {arguments.batch_size} (peers: 250). Weights: {hashes}.

{_apart(rows)}
{accuracy_table(rows)}

### Time

{speed_table(rows)}

### Passes per attacked image

{passes_table(rows)}

### What was required

{requirements(rows)}
"""
    record("autoattack_peers", text, write=arguments.write)


if __name__ == "__main__":
    main()
