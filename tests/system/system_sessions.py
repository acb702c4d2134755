"""`auditor run` in processes that can be killed, and that need not import torch anew each time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

LOG = "session.txt"


def start_session(home: Path, arguments: Sequence[str]) -> ForkServerProcess:
    """`auditor` with `arguments` in `home`, under way.

    It is forked from a server that has imported torch and started no thread; to SIGKILL, and to
    what that leaves on the disk, it is a process like any other.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "auditor.audit.audit", "auditor.cli"])
    session = context.Process(target=_session, args=(str(home), list(arguments)))
    session.start()
    return session


def finish_session(home: Path, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of a session that nothing disturbs."""
    session = start_session(home, arguments)
    session.join(timeout=120)
    assert session.exitcode is not None, "the session hangs"
    return session.exitcode, (home / LOG).read_text(encoding="utf-8")


def killed_after(session: BaseProcess, seconds: float) -> bool:
    """Kill the session after so long; False if it had ended before."""
    session.join(timeout=seconds)
    if session.exitcode is not None:
        return False
    session.kill()
    session.join()
    return True


def _session(home: str, arguments: list[str]) -> None:
    os.chdir(home)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from auditor.cli import app

    app(arguments)
