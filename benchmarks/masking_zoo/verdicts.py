"""What audits say of the zoo: verdict, culprit, corrected accuracy, beside the truth.

    python benchmarks/masking_zoo/verdicts.py --rows FILE --truth FILE --split measure --seed 0 \\
        --data FOLDER [--only NAME ...] [--workers 2] [--limit 900] [--write]

Every entry is audited as a user would audit it: an audit.toml of its own, with the factory, the
images, one threat and the profile's battery, in a process of one thread; reports are left out. What
`masking` in audit.json says is kept in FILE as JSON lines, and of which commit; an audit that does
not end within the limit is killed, and its line says so. `--truth` is the file of `truth.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
from common import record  # noqa: E402
from scores import score_text  # noqa: E402
from third_part import EVERY  # noqa: E402
from truth import data_file, rows_of  # noqa: E402
from zoo import Entry  # noqa: E402

from auditor.audit.audit import Audit  # noqa: E402
from auditor.config import load_config  # noqa: E402
from auditor.errors import AuditorError  # noqa: E402


def audit_toml(entry: Entry, data: Path, images: int, seed: int, profile: str, folder: Path) -> str:
    """The configuration of an entry's audit."""
    name = entry.factory.partition(":")[2]
    kwargs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.arguments.items())
    return f"""schema = 1
title = "{entry.name}"
profile = "{profile}"

[run]
seed = {seed}
device = "cpu"
threads = 1
output = {json.dumps(str(folder / "audits"))}

[[model]]
name = "{entry.name}"
factory = {json.dumps(f"{entry.source}:{name}")}
kwargs = {{ {kwargs} }}
outputs = "{entry.outputs}"
precision = "{entry.precision}"

[data]
adapter = "npz"
path = {json.dumps(str(data.resolve()))}
samples = {images}
draw = "balanced"

[[threat]]
norm = "{entry.norm}"
epsilon = "{entry.epsilon}"
rationale = "the budget of the literature for these images"
"""


def commit() -> str:
    """The commit that is checked out; "-dirty" where tracked files were changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=8", "--exclude", "*"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _key(entry: Entry, images: int, seed: int, profile: str) -> dict[str, Any]:
    return {"name": entry.name, "seed": seed, "images": images, "profile": profile}


def verdict(entry: Entry, data: Path, images: int, seed: int, profile: str) -> dict[str, Any]:
    """Audit an entry and read what audit.json says of masking."""
    row = _key(entry, images, seed, profile)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "audit.toml").write_text(
            audit_toml(entry, data, images, seed, profile, folder), encoding="utf-8"
        )
        config, registry = load_config(folder / "audit.toml")
        audit = Audit(config, registry, "benchmark", lambda event: None, resume=False)
        try:
            with contextlib.closing(audit):
                audit.run()
        except AuditorError as error:
            return row | {"error": error.render()}
        assert audit.ledger is not None
        found = json.loads((audit.ledger.directory / "audit.json").read_text(encoding="utf-8"))
    model = found["models"][0]
    masking = model["masking"]
    kept = ("verdict", "kind", "culprit", "gradient_attack_accuracy", "corrected_accuracy",
            "hidden", "evidence", "reasons", "summary")  # fmt: skip
    attacks = sum(one["seconds"] for one in model["threats"][0]["attacks"])
    checks = model.get("checks", [])
    return row | {
        **{key: masking.get(key) for key in kept},
        "clean": model["clean"]["accuracy"],
        "robust": (model["threats"][0]["robust"] or {}).get("accuracy"),
        "flagged": [one["label"] for one in checks if one["flagged"]],
        "failed": {one["label"]: one["sentence"] for one in checks if one["status"] == "error"},
        "seconds": time.monotonic() - begin,
        "attack_seconds": attacks,
        "check_seconds": sum(one["seconds"] for one in checks),
    }


def _send(to: Connection, *arguments: Any) -> None:
    torch.set_num_threads(1)
    to.send(verdict(*arguments))


def alone(limit: float, *arguments: Any) -> dict[str, Any]:
    """`verdict` in a process of its own, which is killed after `limit` seconds."""
    entry, _, images, seed, profile = arguments
    context, begin = multiprocessing.get_context("spawn"), time.monotonic()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, *arguments))
    process.start()
    sender.close()
    try:
        if receiver.poll(limit):
            row: dict[str, Any] = receiver.recv()
            process.join()
            return row
        error = f"no verdict within {limit:g} s"
    except EOFError:
        process.join()
        error = f"the audit's process ended with status {process.exitcode}"
    process.kill()
    process.join()
    return _key(entry, images, seed, profile) | {
        "error": error,
        "seconds": time.monotonic() - begin,
    }


def main() -> None:
    """Audit what is asked for, and make the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [entry.name for entry in EVERY]
    parser.add_argument("--rows", type=Path, required=True, help="file of verdicts")
    parser.add_argument("--truth", type=Path, help="file of truth.py, for the tables")
    parser.add_argument("--data", type=Path, help="folder with SET-test.npz")
    parser.add_argument("--split", choices=["choose", "measure", "third"], required=True)
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    parser.add_argument("--only", nargs="*", metavar="NAME",
                        help="entries of that half; none: the tables alone (all)")  # fmt: skip
    parser.add_argument("--missing", action="store_true", help="only entries without a row")
    parser.add_argument("--images", type=int, default=200, help="%(default)s")
    parser.add_argument("--profile", default="standard", help="%(default)s")
    parser.add_argument("--workers", type=int, default=1, help="audits at a time (%(default)s)")
    parser.add_argument("--limit", type=float, default=900.0,
                        help="seconds that an audit may take (%(default)g)")  # fmt: skip
    parser.add_argument("--write", action="store_true", help="update this part of RESULTS.md")
    args = parser.parse_args()
    part = [entry for entry in EVERY if entry.split == args.split]
    if args.only is not None:
        if unknown := set(args.only) - set(names):
            parser.error(f"no entry is called {', '.join(sorted(unknown))}")
        part = [entry for entry in part if entry.name in args.only]
    there = rows_of(args.rows) if args.missing else {}
    version = commit()
    with ThreadPoolExecutor(args.workers) as pool:
        audits = [
            pool.submit(alone, args.limit, entry, data_file(entry.dataset, args.data), args.images,
                        args.seed, args.profile)
            for entry in part if (entry.name, args.seed) not in there
        ]  # fmt: skip
        for audit in as_completed(audits):
            line = json.dumps(audit.result() | {"commit": version})
            print(line, flush=True)
            with args.rows.open("a", encoding="utf-8") as rows:
                rows.write(line + "\n")
    truth = rows_of(args.truth) if args.truth else {}
    text = score_text(args.split, list(rows_of(args.rows).values()), truth)
    record(f"masking_{args.split}", text, write=args.write)


if __name__ == "__main__":
    main()
