"""The last self-test's record: written by `auditor selftest`, quoted by every report after it."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from auditor.registry import auditor_version
from auditor.results import SelftestRecord
from auditor.storage import storing, write_atomically

#: Names another directory than the user's own for what is kept between runs.
DIRECTORY_VARIABLE = "AUDITOR_STATE_DIR"


def record_file() -> Path:
    """Where the record is kept."""
    directory = os.environ.get(DIRECTORY_VARIABLE) or typer.get_app_dir("auditor")
    return Path(directory) / "selftest.json"


def store(record: SelftestRecord) -> Path:
    """Write the record, whole or not at all; returns its file.

    Raises:
        StorageError: the directory cannot be written to.
    """
    from pydantic import TypeAdapter

    file = record_file()
    with storing(file.parent, "made"):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, TypeAdapter(SelftestRecord).dump_json(record, indent=2) + b"\n")
    return file


def stored() -> SelftestRecord | None:
    """The record of this version; None where there is none that can be read."""
    from pydantic import TypeAdapter

    try:
        text = record_file().read_bytes()
        record = TypeAdapter(SelftestRecord).validate_json(text)
    except (OSError, ValueError):
        return None
    return record if record.version == auditor_version() else None
