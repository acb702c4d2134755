"""Run directories: the one to go on with, or a new one."""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from auditor.cells.ledger import Ledger
from auditor.config import AuditConfig, config_hash
from auditor.storage import storing

_LOCK_FILE = "config.lock.toml"
_HASH_LENGTH = 6
#: How `new_run` names a directory, the hash apart.
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z-.+-")


def find_unfinished(
    config: AuditConfig, resume: bool | None, say: Callable[[str], None]
) -> Ledger | None:
    """The newest run of this configuration that may be gone on with; it is locked.

    Args:
        resume: False never goes on; None goes on with a run that was cut off; True also with one
            that ended incomplete.
        say: is told what lies there under the name of a run and is none.

    Raises:
        StorageError: a run cannot be read or locked.
    """
    if resume is False:
        return None
    for ledger in _runs(config, say):
        if _unfinished(ledger, resume) and ledger.try_lock():
            if _unfinished(ledger, resume):  # still, now that nobody else is at work on it
                return ledger
            ledger.unlock()
    return None


def find_judged(config: AuditConfig, same: Callable[[Ledger], bool]) -> Ledger | None:
    """The newest complete run of this configuration that is the `same` audit; it is locked.

    Raises:
        StorageError: a run cannot be read or locked.
    """
    for ledger in _runs(config, lambda text: None):
        if ledger.ended() == "complete" and same(ledger) and ledger.try_lock():
            if ledger.ended() == "complete":
                return ledger
            ledger.unlock()
    return None


def _runs(config: AuditConfig, say: Callable[[str], None]) -> Iterator[Ledger]:
    """All runs of this configuration, newest first."""
    if not config.output.is_dir():
        return
    wanted = config_hash(config)[:_HASH_LENGTH]
    with storing(config.output, "read"):
        found = sorted(config.output.glob(f"*-{wanted}"), reverse=True)
    for directory in found:
        if not directory.is_dir() or not _NAME.match(directory.name):
            say(f"{directory} is not a run directory, and is ignored")
            continue
        yield Ledger(directory)


def _unfinished(ledger: Ledger, resume: bool | None) -> bool:
    """Whether the last session was cut off, or, to `resume`, ended incomplete."""
    status = ledger.ended()
    return status is None or bool(resume and status != "complete")


def new_run(config: AuditConfig) -> Ledger:
    """A new, locked run directory, named after the time, the model and the configuration.

    Raises:
        StorageError: it cannot be made or locked.
    """
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    names = [model.name for model in config.models]
    title = names[0] if len(names) == 1 else f"{len(names)}-models"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "audit"
    output, key = config.output, config_hash(config)[:_HASH_LENGTH]
    with storing(output, "made"):
        output.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            # Others were begun within this second; "." sorts after "-".
            again = f".{number}" if number > 1 else ""
            directory = output / f"{stamp}-{slug}{again}-{key}"
            try:
                directory.mkdir()
            except FileExistsError:
                continue
            ledger = Ledger(directory)
            if ledger.try_lock():  # else another process has taken it for one that was cut off
                break
    return ledger


def lock_file(ledger: Ledger) -> Path:
    """Where the configuration is written out: that of the session which wrote the result."""
    return ledger.directory / _LOCK_FILE
