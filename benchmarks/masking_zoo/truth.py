"""True gaps of the zoo: what plain gradient attacks leave, and what hand-made adaptive ones leave.

    python benchmarks/masking_zoo/truth.py --rows FILE --data FOLDER [--split third] \\
        [--only NAME ...] [--write]

Plain are PGD-40 on the cross-entropy and PGD-40 on the margin, on the model's own autograd. The
true gap of a defense is the accuracy under the former minus that under the adaptive attack of
`adaptive.py`. Rows are kept in FILE as JSON lines, so that it can be done in parts; the tables are
made from all rows of the file. FOLDER holds cifar10-test.npz (x: uint8 [N, 32, 32, 3], y: [N]), for
the third part mnist-test.npz.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
from adaptive import EXAMPLE, QUERIES, plain, robust_under, subject  # noqa: E402
from common import record, table  # noqa: E402
from third_part import EVERY  # noqa: E402
from zoo import Entry  # noqa: E402

from auditor.registry import load_registry  # noqa: E402
from auditor.subject.samples import Images  # noqa: E402

#: A defense with a smaller gap hides nothing that matters.
GAP = 10.0


def data_file(dataset: str, folder: Path | None) -> Path:
    """The npz file of a dataset's test images."""
    if dataset == "fashion-mnist":
        return EXAMPLE / "data" / "test-1000.npz"
    if folder is None:
        raise SystemExit(f"--data is needed: a folder with {dataset}-test.npz")
    return folder / f"{dataset}-test.npz"


def read_images(dataset: str, folder: Path | None) -> Images:
    """The images, by the adapter that an audit uses."""
    adapter = load_registry().data["npz"].build({"path": str(data_file(dataset, folder))})
    images: Images = adapter.load()
    return images


def measure(entry: Entry, images: Images, count: int, seed: int, steps: int) -> dict[str, Any]:
    """Accuracies of an entry, as fractions of all `count` images."""
    begin = time.process_time()
    chosen = subject(entry, images, count, seed)
    row: dict[str, Any] = {"name": entry.name, "images": count, "seed": seed, "steps": steps,
                           "clean": len(chosen.block) / count}  # fmt: skip
    for key, loss in (("plain_ce", "cross-entropy"), ("plain_margin", "margin")):
        found = plain(chosen, entry, loss, seed)
        row[key] = int(found.robust.sum()) / count
        row["note"] = found.note
    row["adaptive"] = int(robust_under(chosen, entry, seed, steps).sum()) / count
    row["gap"] = row["plain_ce"] - row["adaptive"]
    return row | {"seconds": time.process_time() - begin}


def rows_of(file: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The latest row of every entry and seed in a file of rows."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {(row["name"], row["seed"]): row for row in map(json.loads, lines)}


def truth_table(found: dict[str, dict[str, Any]]) -> str:
    """One line per entry."""
    lines = []
    for entry in EVERY:
        row = found.get(entry.name)
        if row is None:
            continue
        hides = 100 * row["gap"] >= GAP
        surprise = "" if hides == entry.masks else ("hides nothing" if entry.masks else "HIDES")
        lines.append([
            entry.name, entry.split, entry.kind or "honest", entry.dataset, entry.backbone,
            *(f"{100 * row[key]:.1f}" for key in ("clean", "plain_ce", "plain_margin", "adaptive")),
            f"{100 * row['gap']:.1f}", "; ".join(filter(None, [surprise, row["note"]])),
        ])  # fmt: skip
    header = ["entry", "half", "kind", "images", "backbone", "clean", "PGD-40 CE", "PGD-40 margin",
              "adaptive", "gap", ""]  # fmt: skip
    return table(header, lines)


def main() -> None:
    """Measure what is asked for, and make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [entry.name for entry in EVERY]
    parser.add_argument("--rows", type=Path, required=True, help="file of measurements")
    parser.add_argument("--data", type=Path, help="folder with cifar10-test.npz")
    parser.add_argument("--split", choices=["halves", "third"], default="halves",
                        help="both halves, or the third part (%(default)s)")  # fmt: skip
    parser.add_argument("--only", nargs="*", default=names, metavar="NAME",
                        help="entries to measure; none: the table alone (all)")  # fmt: skip
    parser.add_argument(
        "--missing", action="store_true", help="only those without a row of this seed"
    )
    parser.add_argument("--images", type=int, default=200, help="%(default)s")
    parser.add_argument("--steps", type=int, default=100, help="of the adaptive attack")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--write", action="store_true", help="update this part of RESULTS.md")
    args = parser.parse_args()
    if unknown := set(args.only) - set(names):
        parser.error(f"no entry is called {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    there = rows_of(args.rows) if args.missing else {}
    read: dict[str, Images] = {}
    third = args.split == "third"
    part = [entry for entry in EVERY if (entry.split == "third") == third]
    for entry in part:
        if entry.name not in args.only or (entry.name, args.seed) in there:
            continue
        if entry.dataset not in read:
            read[entry.dataset] = read_images(entry.dataset, args.data)
        row = measure(entry, read[entry.dataset], args.images, args.seed, args.steps)
        print(json.dumps(row), flush=True)
        with args.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    rows = rows_of(args.rows)
    mine = {entry.name for entry in part}
    found = {name: row for (name, seed), row in rows.items() if seed == args.seed and name in mine}
    section = "masking_truth_third" if third else "masking_truth"
    record(section, _text(part, found), write=args.write)


def _text(part: list[Entry], found: dict[str, dict[str, Any]]) -> str:
    known = [entry for entry in part if entry.name in found]
    masks = [found[entry.name] for entry in known if entry.masks]
    honest = [found[entry.name] for entry in known if not entry.masks]
    first = next(iter(found.values()))
    third = ", the third part" if known[0].split == "third" else ""
    budgets = dict.fromkeys(f"{e.norm} {e.epsilon} on {e.dataset}" for e in known)
    return f"""## The masking zoo: true gaps{third}

{first["images"]} images, seed {first["seed"]}; {", ".join(budgets)}; torch \
{torch.__version__}, one thread. Accuracies in percent of all images. The gap is what PGD-40 on \
the cross-entropy leaves minus what the hand-made adaptive attack leaves ({first["steps"]} steps \
of APGD on the margin, two starts and three targets; then, where the model is not random, \
{QUERIES:,} points of Square).

Of {len(masks)} defenses {sum(100 * row["gap"] >= GAP for row in masks)} hide at least {GAP:g} \
points; of {len(honest)} honest controls {sum(100 * row["gap"] >= GAP for row in honest)} do.

{truth_table(found)}
"""


if __name__ == "__main__":
    main()
