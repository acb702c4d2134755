"""Peak memory of whole audits of ever more images: it should not grow with their number.

Each audit runs in a process of its own, on synthetic images that are made when they are read:
pre-flight, PGD-10 in blocks, ledger cells, samples.parquet, adversarial.safetensors, audit.json.
"""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import HERE, conditions, options, record, table

#: Megabytes by which the peak may grow from the fewest images to the most: a third of what the
#: pixels of 100,000 images would take in float32. A few numbers per image and attack are kept.
LIMIT = 100
_AUDIT = """\
schema = 1
title = "streaming"

[run]
device = "cpu"
threads = 1
batch_size = 128
output = {output}

[[model]]
name = "tiny"
factory = {factory}
outputs = "logits"

[data]
adapter = "synthetic"
images = {images}

[[threat]]
norm = "linf"
epsilon = 0.1

[[attack]]
use = "pgd"
steps = {steps}

[plugins]
paths = [{plugin}]
"""


def audit(directory: Path, images: int, steps: int) -> dict[str, float]:
    """Run one audit here, in this process, and say what it took."""
    from auditor.audit.audit import Audit
    from auditor.config import load_config

    plugin = HERE / "synthetic_images.py"
    text = _AUDIT.format(
        output=json.dumps(str(directory)),
        factory=json.dumps(f"{plugin}:tiny_cnn"),
        plugin=json.dumps(str(plugin)),
        images=images,
        steps=steps,
    )
    path = directory / "audit.toml"
    path.write_text(text, encoding="utf-8")
    config, registry = load_config(path)
    before, begin = _peak(), time.perf_counter()
    under_way = Audit(config, registry, "streaming", lambda event: None)
    with contextlib.closing(under_way):
        result = under_way.run()
    assert under_way.ledger is not None
    run = under_way.ledger.directory
    row = result.models[0].threats[0].attacks[0]
    assert row.status == "done", row.reason
    return {
        "before": before,
        "peak": _peak(),
        "seconds": time.perf_counter() - begin,
        "clean": result.models[0].clean.accuracy,
        "broken": row.broken,
        "passes": row.forwards + row.backwards,
        "written": sum(file.stat().st_size for file in run.rglob("*") if file.is_file()) / 1e6,
    }


def _peak() -> float:
    """The largest resident size of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def in_a_process(images: int, steps: int) -> dict[str, float]:
    """The same in a fresh process.

    A process inherits the peak of the one that starts it; this one is small, for it has no torch.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, str(Path(__file__).resolve()), "--child", directory]
        command += ["--images", str(images), "--steps", str(steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _text(found: dict[int, list[dict[str, float]]], steps: int, repeats: int) -> str:
    rows = []
    for images, runs in found.items():
        first, peaks = runs[0], [run["peak"] for run in runs]
        seconds = min(run["seconds"] for run in runs)
        rows.append(
            [f"{images:,}",
             f"{statistics.median(peaks):.0f} ({min(peaks):.0f} to {max(peaks):.0f})",
             f"{statistics.median(run['before'] for run in runs):.0f}",
             f"{first['clean']:.1%}", f"{first['broken']:,.0f}", f"{first['written']:.0f}",
             f"{seconds:.1f}", f"{first['passes'] / seconds:,.0f}"]
        )  # fmt: skip
    low, high = min(found), max(found)
    medians = {n: statistics.median(run["peak"] for run in found[n]) for n in (low, high)}
    growth = medians[high] - medians[low]
    header = ("images", "peak, MB (range)", "before the audit, MB", "clean accuracy", "broken",
              "written, MB", "seconds", "passes per second")  # fmt: skip
    each = f", {1e6 * growth / (high - low):.0f} bytes per image" if high > low else ""
    return "\n\n".join(
        [
            "## Memory of an audit",
            conditions(("robustness-auditor", "torch", "pyarrow"), repeats=repeats).replace(
                "CPU time of one thread", "one thread, wall time"
            ) + f" PGD-{steps}, l-infinity, batches of 128, images 1 × 28 × 28.",
            table(header, rows),
            f"The peak grows by {growth:.0f} MB from {low:,} to {high:,} images{each}; "
            f"required: at most {LIMIT} MB; {'holds' if growth <= LIMIT else 'DOES NOT HOLD'}.",
        ]
    )  # fmt: skip


def main() -> None:
    """Measure, print, perhaps write."""
    parser = options(__doc__, repeats=2)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--child", type=Path, help="run one audit in this directory (internal)")
    args = parser.parse_args()
    if args.child is not None:
        print(json.dumps(audit(args.child, args.images[0], args.steps)))
        return
    found: dict[int, list[dict[str, float]]] = {images: [] for images in args.images}
    for _ in range(args.repeats):
        for images, runs in found.items():
            runs.append(in_a_process(images, args.steps))
    record("streaming", _text(found, args.steps, args.repeats), write=args.write)


if __name__ == "__main__":
    main()
