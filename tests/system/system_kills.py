"""Sessions that end in the middle of a file operation, and what these are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

#: What Python tells of files before it does it: opened, made, put in place, taken away, listed.
_OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.listdir", "os.scandir",
               "os.truncate", "os.chmod", "tempfile.mkstemp")  # fmt: skip
#: The status of a process that was killed.
KILLED = 137


class Kill:
    """An audit hook that ends the process before the file operation `at` in `folder`.

    Operations of libraries in other languages are not seen; what is done before and after them is.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self._folder, self._at, self._leave = os.fspath(folder), at, os._exit
        self.seen = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPERATIONS or not any(map(self._inside, arguments)):
            return
        self.seen += 1
        if self.seen == self._at:
            self._leave(KILLED)

    def _inside(self, argument: Any) -> bool:
        if not isinstance(argument, str | bytes | os.PathLike):
            return False
        path = os.path.abspath(os.fsdecode(argument))
        return path == self._folder or path.startswith(self._folder + os.sep)


def killed_session(home: str, arguments: list[str], at: int) -> None:
    """`auditor` with `arguments` in `home`, which ends at its file operation number `at`.

    What it prints, and the number of operations where it came to its end, are left in `home`.
    """
    os.chdir(home)
    log = os.open("session.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from auditor.cli import app

    kill = Kill(Path("audits").absolute(), at)
    sys.addaudithook(kill)
    try:
        app(arguments)
    finally:
        Path("operations.txt").write_text(str(kill.seen), encoding="utf-8")
