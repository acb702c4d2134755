"""Whether the tests notice each of the faults in `mutants.py`.

    python tests/mutants/run.py [--all] [--only WORD]

A fault is written into a copy of the sources, and the tests it names are run on that: those that
`make test` runs, or with --all the slow ones too. It is caught if one of them fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutants import MUTANTS, ROOT, Mutant

#: What the sources install as.
_SOURCES = {
    "auditor": "auditor",
    "plugins": "auditor_plugins",
    "report_templates": "auditor_report_templates",
}


def tested(mutant: Mutant | None, tests: list[str], mark: str) -> int:
    """pytest's status on the sources with the fault, or as they are."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for source, name in _SOURCES.items():
            shutil.copytree(ROOT / source, folder / name)
        if mutant is not None:
            top, _, rest = mutant.file.partition("/")
            (folder / _SOURCES[top] / rest).write_text(mutant.written(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                   "-m", mark, *tests]  # fmt: skip
        path = os.pathsep.join([text, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        return run.returncode


def main() -> int:
    """Status 1 if a fault is missed, or the tests fail without any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="slow tests too")
    parser.add_argument("--only", default="", help="faults in whose words this stands")
    args = parser.parse_args()
    mark = "not exhaustive" if args.all else "not slow and not exhaustive"
    chosen = [mutant for mutant in MUTANTS if args.only in mutant.fault]
    files = sorted({file for mutant in chosen for file in mutant.tests.split()})
    if tested(None, files, mark):
        print("the tests fail without a fault")
        return 1
    missed = 0
    for number, mutant in enumerate(chosen, 1):
        caught = tested(mutant, mutant.tests.split(), mark) == 1
        missed += not caught
        print(f"{number:2} {'caught' if caught else 'MISSED'}  {mutant.fault}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
