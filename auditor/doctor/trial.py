"""Tries what may bring the process down in a process of its own.

A torch that was built for another processor, or the driver of a broken device, does not raise: it
kills or hangs. A trial is a script of this folder with a function `attempts`, which takes the
arguments and yields what is to be tried, by name. This file runs it in the other process, where it
needs the standard library alone. It prints a line of JSON before a thing is tried and one after, so
that what killed it has a name.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What a trial yields: a name, and what tries it and returns what there is to say of it.
Attempt = tuple[str, Callable[[], dict[str, Any]]]
#: What follows has been tried before.
_WITHOUT = "--without"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Tried:
    """One thing that was tried.

    Attributes:
        error: what went wrong, if anything did.
        killed: whether it took the process with it.
        said: what else the script says of it.
    """

    name: str
    error: str = ""
    killed: bool = False
    said: dict[str, Any] = field(default_factory=dict)


def run_trial(script: str, *arguments: str, timeout: float) -> Iterator[Tried]:
    """What came of each thing that `script` tries; after one that kills it, it goes on behind it.

    Args:
        timeout: seconds in which the rest has to be tried.
    """
    done: list[str] = []
    while True:
        tried, ended_well = _run(script, [*arguments, _WITHOUT, *done], timeout)
        yield from tried
        done += [one.name for one in tried]
        if ended_well or not tried or not tried[-1].name:
            return


def _run(script: str, arguments: list[str], timeout: float) -> tuple[list[Tried], bool]:
    """One process: what it tried, and whether it came to its end."""
    # -P: the modules beside the script are none that it asks for.
    command = [sys.executable, "-P", __file__, str(_FOLDER / script), *arguments]
    # It finds what this process finds, however that was started.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        how, output, complaints = f"no answer in {timeout:g} s", error.stdout, error.stderr
        ended_well = False
    else:
        output, complaints = done.stdout, done.stderr
        how, ended_well = _ending(done.returncode), done.returncode == 0
    tried, under_way = _read(output or b"")
    if under_way:
        tried.append(Tried(under_way, how, killed=True))
    elif not ended_well and not tried:
        last = (complaints or b"").decode(errors="replace").strip().splitlines()[-1:]
        tried.append(Tried("", ": ".join([how, *last]), killed=True))
    return tried, ended_well


def _read(output: bytes) -> tuple[list[Tried], str]:
    """The things that were tried to their end, and the one that was not."""
    tried: list[Tried] = []
    under_way = ""
    for line in output.decode(errors="replace").splitlines():
        try:
            said = json.loads(line)
            name = str(said.pop("trial"))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # what libraries print
        if said.pop("begins", False):
            under_way = name
        else:
            tried.append(Tried(name, str(said.pop("error", "")), said=said))
            under_way = ""
    return tried, under_way


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"it ended the process with status {code}"
    try:
        return f"it killed the process ({signal.Signals(-code).name})"
    except ValueError:
        return f"it killed the process (signal {-code})"


def _try_all(script: str, *arguments: str) -> None:
    """In the other process: one thing after another, but for what was tried before."""
    place = arguments.index(_WITHOUT)
    for name, attempt in runpy.run_path(script)["attempts"](arguments[:place]):
        if name in arguments[place:]:
            continue
        _say(name, begins=True)
        try:
            said = attempt()
        except BaseException as error:  # drivers and broken packages may raise anything
            said = {"error": f"{type(error).__name__}: {error}"}
        _say(name, **said)


def _say(name: str, **what: Any) -> None:
    print(json.dumps({"trial": name, **what}), flush=True)


if __name__ == "__main__":
    _try_all(*sys.argv[1:])
