"""Run directories that commands are given."""

from __future__ import annotations

import hashlib
from pathlib import Path

from auditor.errors import UsageError
from auditor.journal import Journal
from auditor.storage import storing


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
    known = [
        str(event.get("sha256"))
        for event in Journal(directory).events()
        if event["event"] == "result"
    ]
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
