"""What happened in a run directory and when, and the lock that keeps others from it. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor.results import AuditResult, to_json
from auditor.storage import storing, write_atomically

if sys.platform != "win32":
    import fcntl

#: A session begins: one that runs, or one that judges a finished run again.
STARTED, JUDGED = "started", "judged again"
_RESULT, _FINISHED = "result", "finished"
#: The end of the year 9999, beyond which there are no dates.
_LAST_TIME = 253_402_300_799


class Journal:
    """events.jsonl of one run directory.

    Args:
        directory: an existing directory.

    Raises:
        StorageError: the directory cannot be used; every method raises it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._cells = directory / "cells"
        self._lock: int | None = None
        self._opened = time.monotonic()

    def try_lock(self) -> bool:
        """Keep other processes from going on with this run; False if one is at work on it.

        The lock ends with `unlock`, or with the process, however that ends. Where the system has
        no such locks, nobody is kept away.
        """
        if sys.platform == "win32":
            return True
        with storing(self._cells, "locked"):
            self._cells.mkdir(exist_ok=True)
            descriptor = os.open(self._cells, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:
                os.close(descriptor)
                raise
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        """Let others go on with this run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def log(self, event: str, **details: Any) -> None:
        """Append one line to events.jsonl.

        Beside the time of day, which may be set anew at any moment, a line has the seconds since
        the session opened the directory.
        """
        since = time.monotonic() - self._opened
        line = json.dumps({"time": time.time(), "event": event, "since": since, **details}).encode()
        path = self.directory / "events.jsonl"
        with storing(path), path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a crash cut the last line off
                    line = b"\n" + line
            file.write(line + b"\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """What was logged, oldest first; a line cut off by a crash, or damaged, is left out."""
        return (event for event in self._lines() if event is not None)

    @property
    def unreadable(self) -> int:
        """Lines of events.jsonl that are left out."""
        return sum(event is None for event in self._lines())

    def _lines(self) -> Iterator[dict[str, Any] | None]:
        """Every line; None for one that is no event."""
        path = self.directory / "events.jsonl"
        if not path.exists():
            return
        with storing(path, "read"):
            text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            yield _event(line)

    def last(self, event: str) -> dict[str, Any] | None:
        """The newest event of that name."""
        found = None
        for logged in self.events():
            if logged.get("event") == event:
                found = logged
        return found

    def first_time(self) -> float | None:
        """When the run was first started, in seconds since the epoch."""
        return next((logged["time"] for logged in self.events()), None)

    def seconds(self) -> float:
        """What all sessions of the run took from their start, as far as their events reach."""
        total = began = last = 0.0
        for event in self.events():
            if event["event"] in (STARTED, JUDGED):
                total += max(0.0, last - began)
                began = event["since"]
            last = event["since"]
        return total + max(0.0, time.monotonic() - self._opened - began)

    def keep(self, result: AuditResult) -> None:
        """Write audit.json."""
        text = to_json(result).encode()
        # Before the file: whatever a crash leaves there, its hash is one of those in the log.
        self.log(_RESULT, sha256=hashlib.sha256(text).hexdigest())
        write_atomically(self.directory / "audit.json", text)

    def hashes(self) -> list[str]:
        """The SHA-256 of every audit.json that was kept, oldest first."""
        return [str(event.get("sha256")) for event in self.events() if event["event"] == _RESULT]

    def finish(self, status: str, exit_status: int) -> None:
        """Note that nothing is left to do, reports included."""
        self.log(_FINISHED, status=status, exit_status=exit_status)

    def ended(self) -> str | None:
        """The status with which the last session finished; None where it was cut off."""
        status = None
        for event in self.events():
            if event["event"] in (STARTED, JUDGED):
                status = None
            elif event["event"] == _FINISHED:
                status = str(event.get("status"))
        return status


def _event(line: str) -> dict[str, Any] | None:
    """A line of events.jsonl with what every event has; None where that is missing."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # a number of 5,000 digits, a thousand brackets
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    event.setdefault("since", event.get("time"))  # events of earlier versions have the time alone
    fits = all(
        isinstance(event.get(key), int | float)
        and not isinstance(event[key], bool)
        and 0 <= event[key] <= _LAST_TIME
        for key in ("time", "since")
    )
    return event if fits else None
