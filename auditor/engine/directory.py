"""Run directories: the one to go on with, or a new one."""

from __future__ import annotations

import datetime
import re
import time
from pathlib import Path

from auditor.config import AuditConfig, config_hash, lock_text
from auditor.engine.ledger import Ledger, write_atomically
from auditor.printable import encodable
from auditor.registry import Registry

_LOCK_FILE = "config.lock.toml"
_FINISHED = "finished"
_HASH_LENGTH = 6


def find_unfinished(config: AuditConfig, resume: bool | None) -> Ledger | None:
    """The newest run of this configuration that may be gone on with; it is locked.

    Args:
        resume: False never goes on; None goes on with a run that was cut off; True also with one
            that ended incomplete.
    """
    if resume is False or not config.run.output.is_dir():
        return None
    wanted = config_hash(config)[:_HASH_LENGTH]
    for directory in sorted(config.run.output.glob(f"*-{wanted}"), reverse=True):
        ledger = Ledger(directory)
        finished = ledger.last(_FINISHED)
        unfinished = finished is None or (resume and finished.get("status") != "complete")
        if unfinished and ledger.try_lock():
            return ledger
    return None


def new_run(config: AuditConfig) -> Ledger:
    """A new, locked run directory, named after the time, the model and the configuration."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    names = [model.name for model in config.models]
    title = names[0] if len(names) == 1 else f"{len(names)}-models"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "audit"
    directory = config.run.output / f"{stamp}-{slug}-{config_hash(config)[:_HASH_LENGTH]}"
    try:
        directory.mkdir(parents=True)
    except FileExistsError:  # another run was begun within this second
        time.sleep(0.1)
        return new_run(config)
    ledger = Ledger(directory)
    ledger.try_lock()
    return ledger


def write_lock_file(ledger: Ledger, config: AuditConfig, registry: Registry) -> None:
    """Write config.lock.toml, unless an earlier session has."""
    path: Path = ledger.directory / _LOCK_FILE
    if not path.is_file():
        write_atomically(path, encodable(lock_text(config, registry)).encode())


def mark_finished(ledger: Ledger, status: str, exit_status: int) -> None:
    """Note that nothing is left to do, reports included."""
    ledger.log(_FINISHED, status=status, exit_status=exit_status)
