"""One of the two audits, as it was stored."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import LoadError, UsageError, text_of
from auditor.manifest import AUDIT, LOCK, SAMPLES
from auditor.reading import Run, attachments, is_pdf, read
from auditor.results import AuditResult, from_json
from auditor.storage import storing

if TYPE_CHECKING:
    import pyarrow as pa

#: Of samples.parquet, what a comparison needs.
COLUMNS = ("model", "threat", "epsilon", "attack", "id", "image", "label", "clean_correct",
           "broken")  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A finished audit and what lies beside it."""

    path: str
    result: AuditResult
    #: Of audit.json.
    sha256: str
    #: A row per model, threat, attack and image; None where it is not there, which `lacking` says.
    samples: pa.Table | None
    lacking: str = ""
    #: The tables of config.lock.toml; None where it is not there.
    configuration: dict[str, Any] | None = None


def load(path: Path) -> Source:
    """The audit that `path` names: a run directory, audit.json, a copy of it, or a PDF report.

    What lies beside audit.json is taken for its own; beside a copy of another name nothing is.

    Raises:
        UsageError: there is nothing at `path`.
        LoadError: there is no audit in it, or a file of the audit is damaged.
    """
    if not path.exists():
        raise UsageError(
            "There is nothing to compare.",
            where=str(path),
            expected="a run directory, its audit.json, or its PDF report",
            remedy="name what `auditor run` wrote; `auditor list runs` lists it",
        )
    if path.is_file() and path.name != AUDIT and not is_pdf(path):
        return _copy(path)
    try:
        run = read(path)
        samples = None
        if run.directory is not None and (run.directory / SAMPLES).is_file():
            samples = run.samples
        lock = _lock(path, run)
    except UsageError as error:
        raise LoadError(
            error.what, where=error.where, expected=error.expected, remedy=error.remedy
        ) from error
    if run.directory is None:
        lacking = f"a PDF carries no {SAMPLES}"
    elif samples is None:
        lacking = f"there is no {SAMPLES} beside {AUDIT}"
    elif missing := [name for name in COLUMNS if name not in samples.column_names]:
        lacking = f"its {SAMPLES} is of an earlier version, without {', '.join(missing)}"
    else:
        lacking = ""
    sha256 = hashlib.sha256(run.raw).hexdigest()
    known = None if lacking else samples
    return Source(str(path), run.result, sha256, known, lacking, _configuration(path, lock))


def _copy(path: Path) -> Source:
    try:
        raw = path.read_bytes()
        result = from_json(raw)
    except (OSError, ValueError) as error:
        raise LoadError(
            "This is no audit.",
            where=str(path),
            expected=f"an audit.json of this version ({text_of(error)})",
            remedy="name a run directory, its audit.json, or its PDF report",
        ) from error
    alone = f"the file is not called {AUDIT}, so that nothing beside it is taken for its own"
    return Source(str(path), result, hashlib.sha256(raw).hexdigest(), None, alone)


def _lock(path: Path, run: Run) -> bytes | None:
    """config.lock.toml, if it is there."""
    if run.directory is None:
        return attachments(path).get(LOCK)
    file = run.directory / LOCK
    if not file.is_file():
        return None
    with storing(file, "read"):
        return file.read_bytes()


def _configuration(path: Path, lock: bytes | None) -> dict[str, Any] | None:
    if lock is None:
        return None
    try:
        return tomllib.loads(lock.decode())
    except ValueError as error:
        raise LoadError(
            f"{LOCK} cannot be read.",
            where=str(path),
            expected=f"the file as the audit wrote it ({text_of(error)})",
            remedy="take it from where the run was archived, or move it away: the configurations "
            "are not compared then",
        ) from error
