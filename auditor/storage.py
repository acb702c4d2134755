"""Files written whole or not at all; what the disk refuses, told as the environment's fault."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from auditor.errors import LoadError, text_of

_ELSEWHERE = "name a folder that can be written to: --set run.output=FOLDER"
_MOVED = "leave the output folder where it is while an audit runs; if it was moved, move it back"
_RIGHTS = f"give yourself the right to write there, or {_ELSEWHERE}"
#: What to do about what the system says.
_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: the quota is used up",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOENT: _MOVED,
    errno.ENOTDIR: _ELSEWHERE,
    errno.EEXIST: _ELSEWHERE,
    errno.EISDIR: "move what is in the way",
    errno.ENOLCK: "the file system has no locks: name a folder on a local disk: "
    "--set run.output=FOLDER",
}
_REMEDIES[errno.EOPNOTSUPP] = _REMEDIES[errno.ENOSYS] = _REMEDIES[errno.ENOLCK]
#: These come from the machine, whatever the program was at.
_ALWAYS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE,
           errno.EIO, errno.ENOLCK}  # fmt: skip
#: How libraries written in Rust word the same.
_RUST = re.compile(r"\(os error (\d+)\)")


class StorageError(LoadError):
    """The disk refused what an audit has to write, to read back, or to lock."""


@contextlib.contextmanager
def storing(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn what the system refuses into an error that says which file, why, and what to do.

    Raises:
        StorageError: the block raised an OSError, or a library's word for one.
    """
    try:
        yield
    except Exception as error:
        number = _number(error)
        if number is None:
            raise
        raise _refused(number, path, doing) from error


def refused(error: BaseException) -> StorageError | None:
    """What to tell of an error whose cause can only be the machine; None of any other."""
    number = _number(error)
    if number not in _ALWAYS:
        return None
    name = getattr(error, "filename", None)
    return _refused(number, Path(os.fsdecode(name)) if name else None, "written")


def _number(error: BaseException) -> int | None:
    """The system's number for what went wrong."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = _RUST.search(text_of(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found else None


def _refused(number: int, path: Path | None, doing: str) -> StorageError:
    why = os.strerror(number) if number else "the system does not say why"
    what = f"{path.name} could not be {doing}" if path else f"A file could not be {doing}"
    return StorageError(
        f"{what}: {why}.",
        where=str(path) if path else "",
        expected="a folder that files can be written to, until the audit has ended",
        remedy=_REMEDIES.get(number, "check the disk, or name another folder"),
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, surviving a crash at any moment.

    Raises:
        StorageError: the disk refuses it; what was there before is still there.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """The same for a file that is written piece by piece, under the name that this yields.

    It takes its place at the end of the block, once it is on the disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path):
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
