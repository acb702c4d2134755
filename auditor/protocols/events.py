"""What happens during an audit, as frozen records for whoever shows or forwards it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.results import Accuracy, AuditResult, Finding, SampleEvidence


@dataclass(frozen=True)
class RunStarted:
    """The run directory exists and the work is known."""

    directory: Path
    resumed: bool
    device: str
    threads: int
    batch_size: int
    images: int
    #: Estimated passes of all cells together, if every image withstands.
    cost: int
    #: What was done to the images and labels, and what is odd about them, one sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Remark:
    """Something was ignored, left out or given up, and the audit goes on; the text says what."""

    text: str


@dataclass(frozen=True)
class ModelReady:
    """A model has passed its pre-flight, perhaps with findings."""

    model: str
    clean: Accuracy
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CellStarted:
    """A cell begins: `attacked` of its `images` are classified correctly."""

    title: str
    images: int
    attacked: int


@dataclass(frozen=True)
class CellProgress:
    """So many images of the cell are finished, and so many of them broken."""

    finished: int
    broken: int


@dataclass(frozen=True)
class CellDone:
    """A cell is finished, skipped or failed; `robust` is its robust accuracy on these images."""

    title: str
    status: str
    reason: str
    robust: float | None
    seconds: float
    #: Read from an earlier session.
    reused: bool
    #: The cell's part of `RunStarted.cost`.
    cost: int


@dataclass(frozen=True)
class SampleDone:
    """The survivors of an attack were sampled until a sample held, or all were attacked."""

    title: str
    evidence: SampleEvidence
    #: All audited images.
    images: int
    #: The sample's part of `RunStarted.cost`.
    cost: int


@dataclass(frozen=True)
class CheckStarted:
    """A check of a model begins."""

    title: str
    #: Passes that it takes at most, verification apart, and the seconds that these take at the pace
    #: of the attacks before it; None where the check does not say, or nothing was measured.
    cost: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class AttemptStarted:
    """A check begins to attack `images` images.

    `cost` and `seconds` are what that takes if every image withstands, verification apart.
    """

    title: str
    attempt: str
    images: int
    cost: int
    seconds: float | None
    #: Seconds that the check has taken so far, and that all attacks on the model took.
    spent: float
    attacks: float

    @property
    def longer(self) -> bool:
        """Whether the check may thereby take longer than all attacks before it."""
        return self.seconds is not None and self.spent + self.seconds > self.attacks


@dataclass(frozen=True)
class AttemptProgress:
    """So many images of a check's attempt are finished, and so many of them broken."""

    finished: int
    broken: int


@dataclass(frozen=True)
class CheckDone:
    """A check is finished or failed; the sentence says what it saw, or why it failed."""

    title: str
    status: str
    sentence: str
    flagged: bool
    seconds: float


@dataclass(frozen=True)
class RunFinished:
    """The result is judged, and audit.json is written; reports come after it."""

    directory: Path
    result: AuditResult


@dataclass(frozen=True)
class ReportsWritten:
    """The last event: `files` are the reports that could be written, in their order."""

    directory: Path
    files: tuple[Path, ...]


Event = (
    RunStarted
    | Remark
    | ModelReady
    | CellStarted
    | CellProgress
    | CellDone
    | SampleDone
    | CheckStarted
    | AttemptStarted
    | AttemptProgress
    | CheckDone
    | RunFinished
    | ReportsWritten
)
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Sink:
    """A plugin's listener: `receive` is called with every event, in the order they happen.

    One that raises is switched off and told of; the audit goes on.
    """

    name: str
    receive: Listener

    @property
    def summary(self) -> str:
        """The first line of the docstring of what listens."""
        return (inspect.getdoc(self.receive) or "").split("\n", 1)[0]


def sink(*, name: str) -> Callable[[Listener], Sink]:
    """Function decorator that says what a sink is called in messages and in `disable`."""
    return lambda receive: Sink(name, receive)
