"""What a job of GitHub Actions shows: annotations at lines of code, and a summary."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from auditor.api import AuditResult, Event, ReportsWritten, RunFinished, one_line, sink

from .judged import Alert, alerts
from .markdown import summary

#: The runner shows ten of each kind for a step, so those that matter come first.
_KINDS = {"error": "error", "warning": "warning", "note": "notice"}
_RESULTS: dict[Path, AuditResult] = {}


@sink(name="github")
def github(event: Event) -> None:
    """In a job of GitHub Actions: annotations on standard error, and the job's summary."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    if isinstance(event, RunFinished):
        _RESULTS[event.directory] = event.result
    elif isinstance(event, ReportsWritten):
        result = _RESULTS.pop(event.directory)
        for line in commands(result):
            print(line, file=sys.stderr)
        if page := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(page).open("a", encoding="utf-8") as file:
                file.write(summary(result) + "\n")


def commands(result: AuditResult) -> Iterator[str]:
    """Workflow commands, the loudest first; findings that ask for nothing are left out."""
    told = [one for one in alerts(result) if not (one.finding and one.finding.severity == "info")]
    for alert in sorted(told, key=lambda one: list(_KINDS).index(one.level)):
        yield _command(alert)


def _command(alert: Alert) -> str:
    about = {"file": alert.place.file, "line": str(alert.place.line), "title": alert.title}
    listed = ",".join(f"{key}={_property(value)}" for key, value in about.items())
    return f"::{_KINDS[alert.level]} {listed}::{_data(alert.message)}"


def _data(text: str) -> str:
    """As the runner reads what follows the second colon; ends of lines are written out before."""
    return one_line(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
