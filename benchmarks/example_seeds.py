"""The shipped example at several seeds: are the four verdicts the same, and what does it cost?

Each audit is a process of its own, as `make audit` starts it, reports included; its CPU seconds are
those of all its threads.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import HERE, conditions, options, record, table

#: Wall-clock seconds on two idle cores.
LIMIT = 100


def audited(seed: int, directory: Path) -> tuple[dict[str, Any], float]:
    """`audit.json` of the example at this seed, and the CPU seconds of its process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable, "-m", "auditor", "run", "audit.toml", "--fresh",
        "--set", f"run.seed={seed}", "--set", f"run.output={directory}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"seed {seed}: status {done.returncode}\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    [path] = directory.glob("*/audit.json")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(path.read_text(encoding="utf-8")), spent


def main() -> None:
    """Audit, and write."""
    parser = options(__doc__.splitlines()[0], repeats=5)
    arguments = parser.parse_args()
    rows = []
    for seed in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as directory:
            result, spent = audited(seed, Path(directory))
        for place, model in enumerate(result["models"]):
            masking = model["masking"]
            cost = (
                ("", "", "")
                if place
                else (
                    str(result["provenance"]["threads"]),
                    f"{spent:.0f} s",
                    f"{result['provenance']['seconds']:.0f} s",
                )
            )
            accuracy = [
                masking[name] for name in ("gradient_attack_accuracy", "corrected_accuracy")
            ]
            rows.append([
                "" if place else str(seed), model["name"], masking["verdict"],
                masking["kind"] or "", *(f"{value:.1%}" for value in accuracy), *cost,
            ])  # fmt: skip
    header = ["seed", "model", "masking", "kind", "gradient attacks", "corrected", "threads",
              "CPU time", "wall clock"]  # fmt: skip
    said = conditions(("robustness-auditor", "torch"), repeats=1)
    text = f"""## The shipped example at several seeds

{said} `audit.toml` as it is. Required: the same verdicts at every seed, and under {LIMIT} s of \
wall clock on two idle cores; other work beside it makes the wall clock longer than that.

{table(header, rows)}
"""
    record("example_seeds", text, write=arguments.write)


if __name__ == "__main__":
    main()
