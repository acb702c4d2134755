"""A recording: what is given to a tracker when, and which of its runs is gone on with."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from auditor.api import (
    CellDone,
    Event,
    LoadError,
    ReportsWritten,
    RunFinished,
    RunStarted,
    SampleDone,
    write_atomically,
)

from ..reports.markdown import summary
from .facts import Scalar, parameters, scalars, words

#: Of a run directory: the run that each tracker records it in.
MEMORY = "trackers.json"
_ARTEFACTS = ("audit.json", "config.lock.toml", "SHA256SUMS")


class Recording(ABC):
    """An audit on its way into a tracker; a listener of its events."""

    #: What users call the tracker.
    name: str

    def __init__(self) -> None:
        self._planned = self._done = self._cells = 0

    def __call__(self, event: Event) -> None:
        """Record what belongs there."""
        match event:
            case RunStarted(directory=directory, cost=cost):
                self._planned = cost
                self._begin(directory)
            case CellDone(cost=cost) | SampleDone(cost=cost):
                self._done, self._cells = self._done + cost, self._cells + 1
                share = self._done / self._planned if self._planned else 1.0
                self.numbers([Scalar("progress", min(share, 1.0), self._cells)])
            case RunFinished(result=result):
                self.numbers(list(scalars(result)))
                self.texts(words(result), summary(result))
            case ReportsWritten(directory=directory, files=files):
                self.files([*(directory / name for name in _ARTEFACTS), *files])
                self.end()

    def _begin(self, directory: Path) -> None:
        memory = directory / MEMORY
        known = _remembered(memory)
        run = self.begin(directory, known.get(self.name), parameters(directory))
        if run and known.get(self.name) != run:
            text = json.dumps({**known, self.name: run}, indent=2)
            write_atomically(memory, text.encode() + b"\n")

    @abstractmethod
    def begin(self, directory: Path, run: str | None, parameters: dict[str, str]) -> str:
        """Open a run, or go on with `run`; returns what it is known by, empty if by the directory.

        Args:
            directory: the run directory of the audit.
            parameters: its configuration.
        """

    @abstractmethod
    def numbers(self, scalars: Sequence[Scalar]) -> None:
        """Record numbers and curves."""

    @abstractmethod
    def texts(self, words: dict[str, str], summary: str) -> None:
        """Record verdicts, and a summary in Markdown."""

    @abstractmethod
    def files(self, files: Sequence[Path]) -> None:
        """Keep the reports."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more comes."""


def _remembered(memory: Path) -> dict[str, str]:
    """The runs by the names of their trackers.

    Raises:
        LoadError: the file is damaged, so that a second run would be made of one.
    """
    if not memory.is_file():
        return {}
    try:
        known = json.loads(memory.read_bytes())
        return {str(name): str(run) for name, run in known.items()}
    except (ValueError, AttributeError) as error:
        raise LoadError(
            f"{memory.name} cannot be read: {error}.",
            where=str(memory),
            expected="the names of trackers with their runs",
            remedy="remove the file; trackers begin a new run then",
        ) from error
