"""Run directories that commands are given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from auditor.errors import UsageError
from auditor.journal import Journal
from auditor.manifest import AUDIT, EXAMPLES, LOCK, MANIFEST, SAMPLES
from auditor.storage import storing

#: What a run directory holds beside reports.
_DATA = (AUDIT, LOCK, SAMPLES, EXAMPLES, MANIFEST, "events.jsonl")


def left_over(directory: Path, written: Iterable[Path]) -> str:
    """What is to be said of reports that were not written anew; empty where there are none.

    Args:
        written: those that were, or that are no longer there.
    """
    new = {path.name for path in written}
    with storing(directory, "read"):
        found = sorted(path.name for path in directory.iterdir() if path.is_file())
    old = [
        name for name in found
        if name not in new and name not in _DATA and not name.startswith((".", "traceback-"))
    ]  # fmt: skip
    if not old:
        return ""
    return (
        f"not written anew: {', '.join(old)}. What is judged and told there is of before; "
        "`auditor report RUN --format NAME` writes a format anew"
    )


def result_of(run: Path) -> tuple[Path, bool]:
    """The directory of a finished run, and whether its log vouches for audit.json.

    Args:
        run: the directory, or its audit.json.

    Raises:
        UsageError: there is no audit.json, or it is not what the audit wrote.
    """
    directory = run.parent if run.name == "audit.json" else run
    file = directory / "audit.json"
    if not file.is_file():
        raise UsageError(
            "There is no audit.json.",
            where=str(run),
            expected="the directory of a finished run",
            remedy="name one of the directories that `auditor run` wrote; `auditor list runs` "
            "lists them",
        )
    known = Journal(directory).hashes()
    with storing(file, "read"):
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    if known and found not in known:
        raise UsageError(
            "audit.json is not what the audit wrote: it was changed or damaged since.",
            where=str(file),
            expected=f"a file with the SHA-256 {known[-1]}, which events.jsonl has",
            remedy="take it from where the run was archived, or run the audit again",
        )
    return directory, bool(known)
