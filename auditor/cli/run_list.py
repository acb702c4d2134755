"""`auditor list runs`: the audits in a folder."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.cli.runs import result_of
from auditor.errors import UsageError
from auditor.journal import Journal
from auditor.manifest import AUDIT, LOCK
from auditor.printable import one_line
from auditor.reading import read
from auditor.results import AuditResult, ModelResult, ThreatResult
from auditor.storage import StorageError, storing

#: Some of these lies in every run directory.
_SIGNS = (AUDIT, LOCK, "events.jsonl")


@dataclass(frozen=True)
class RunRow:
    """One run directory.

    Attributes:
        started: UTC, ISO 8601.
        headline: what came of a finished run; of any other, what is known of it.
    """

    directory: str
    started: str
    state: Literal["finished", "unfinished", "damaged"]
    headline: str
    title: str | None = None
    verdict: str | None = None
    exit_status: int | None = None

    @property
    def cells(self) -> list[str]:
        """The row as a line has it."""
        verdict = self.state if self.verdict is None else f"{self.verdict} ({self.exit_status})"
        title = [self.title] if self.title and not self.headline.startswith(self.title) else []
        return [Path(self.directory).name, verdict, "; ".join([*title, self.headline])]

    def plain(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return asdict(self)


def run_rows(folder: Path) -> list[RunRow]:
    """The runs in `folder`, or the one that it is, newest first.

    Raises:
        UsageError: there is no such folder.
        StorageError: it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {one_line(str(folder))}.",
            expected="a folder with run directories, [run] output in audit.toml",
            remedy="name it: auditor list runs DIR",
        )
    with storing(folder, "read"):
        inside = [one for one in folder.iterdir() if one.is_dir()]
    found = [_row(one) for one in [folder, *inside] if _is_run(one)]
    return sorted(found, key=lambda row: (row.started, row.directory), reverse=True)


def _is_run(directory: Path) -> bool:
    try:
        return any((directory / name).is_file() for name in _SIGNS)
    except OSError:  # nobody may look into it
        return False


def _row(directory: Path) -> RunRow:
    journal = Journal(directory)
    try:
        started = _moment(journal.first_time() or (directory.stat().st_mtime))
        status = journal.ended()
        if status is None and (not (directory / AUDIT).is_file() or journal.first_time()):
            return RunRow(str(directory), started, "unfinished", _unfinished(directory))
        result = read(result_of(directory)[0]).result
    except (UsageError, StorageError) as error:
        what = f"{error.what} ({error.expected})" if error.expected else error.what
        return RunRow(str(directory), started, "damaged", one_line(what))
    return RunRow(
        str(directory), started, "finished", _headline(result), one_line(result.title),
        result.verdict, result.exit_status,
    )  # fmt: skip


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _unfinished(directory: Path) -> str:
    cells = len(list((directory / "cells").glob("*.safetensors")))
    return f"cut off, or under way; {cells} finished cell{'' if cells == 1 else 's'}"


def _headline(result: AuditResult) -> str:
    """Every model's worst case at the threat of its masking verdict."""
    threats = [_threat(model) for model in result.models]
    names = {f"{one.norm} {one.epsilon_text}" for one in threats if one}
    common = names.pop() if len(names) == 1 else ""
    told = ", ".join(
        " ".join(_said(model, threat, common))
        for model, threat in zip(result.models, threats, strict=True)
    )
    return one_line(f"{told} at {common}" if common else told)


def _threat(model: ModelResult) -> ThreatResult | None:
    """The largest epsilon of the first norm."""
    of_first = [one for one in model.threats if one.norm == model.threats[0].norm]
    return max(of_first, key=lambda one: one.epsilon, default=None)


def _said(model: ModelResult, threat: ThreatResult | None, common: str) -> Iterator[str]:
    yield model.name
    if threat is None or threat.robust is None:
        yield "not attacked"
    else:
        yield f"{100 * threat.robust.accuracy:.1f} %"
        if not common:
            yield f"at {threat.norm} {threat.epsilon_text}"
    if model.masking.verdict != "none":
        yield f"(masking {model.masking.verdict})"
