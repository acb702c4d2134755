"""The directory that runs are written into: room, and permission."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from auditor.doctor.proof import Proof

AREA = "Output"
#: Written and read back; more than a file system keeps in the entry of a file.
_TRIAL_BYTES = 2**20
#: A run of the shipped example takes 20 MB; large pictures take more.
_NEEDED, _COMFORTABLE = 100 * 2**20, 2**30
_REMEDY = "make the directory writable, make room, or name another as [run] output"


def storage(output: Path) -> Iterator[Proof]:
    """Write into `output`, or where it would be made, and take it back."""
    there = next(folder for folder in (output, *output.parents) if folder.exists())
    where = str(output) if there == output else f"{output} (would be made in {there})"
    try:
        free = shutil.disk_usage(there).free
        _write_and_read(there)
    except OSError as error:
        yield Proof(
            AREA,
            "failed",
            f"Nothing can be written: {error.strerror or error}.",
            where=where,
            expected="a directory that the audit may write into",
            remedy=_REMEDY,
        )
        return
    room = f"{free / 2**30:.1f} GiB" if free >= _COMFORTABLE else f"{free / 2**20:.0f} MiB"
    if free >= _COMFORTABLE:
        yield Proof(AREA, "ok", f"{where}: can be written, {room} free")
        return
    yield Proof(
        AREA,
        "warning" if free >= _NEEDED else "failed",
        f"There is little room: {room} free.",
        where=where,
        expected=f"at least {_NEEDED // 2**20} MiB; 1 GiB for large pictures",
        remedy="make room, or name a directory on another disk as [run] output",
    )


def _write_and_read(folder: Path) -> None:
    """Raises OSError where that is not possible."""
    content = os.urandom(_TRIAL_BYTES)
    with tempfile.TemporaryFile(dir=folder, prefix=".auditor-doctor-") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        if file.read() != content:
            raise OSError("what was written cannot be read back")
