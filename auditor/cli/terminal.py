"""What is shown while an audit runs and when it is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from auditor.cli.console import PlainConsole
from auditor.printable import hanging, one_line
from auditor.protocols.events import (
    AttemptProgress,
    AttemptStarted,
    CellDone,
    CellProgress,
    CellStarted,
    CheckDone,
    CheckStarted,
    Event,
    ModelReady,
    Remark,
    RunStarted,
    SampleDone,
)
from auditor.report import sentences
from auditor.results import Accuracy, AuditResult


def shown_path(path: Path) -> str:
    """The path relative to the working directory where that is shorter, and still there."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the working directory has gone, or is on another drive
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def percent(accuracy: Accuracy | None) -> str:
    """An accuracy with its interval."""
    if accuracy is None:
        return "not known"
    low, high = accuracy.ci95
    own = f"{accuracy.accuracy:.1%} ({low:.1%} to {high:.1%})"
    if accuracy.weighted is None:
        return own
    low, high = accuracy.weighted.ci95
    in_set = f"{accuracy.weighted.accuracy:.1%} ({low:.1%} to {high:.1%})"
    return f"{own} of a class-balanced draw; {in_set} of the set, its classes weighted"


def duration(seconds: float) -> str:
    """Such as "8 s" or "3 min 20 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


class Screen:
    """Shows events: live bars on a terminal, plain lines elsewhere. Use it as a context manager."""

    def __init__(self, console: PlainConsole) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._whole = self._bars.add_task("audit", total=None, note="")
        self._cell = self._bars.add_task("", visible=False, note="")
        self._current = CellStarted("", 0, 0)
        #: The check that was last said to be long.
        self._long = ""
        self._handlers: dict[type, Any] = {
            Remark: lambda event: self.line(f"warning: {event.text}"),
            ModelReady: self._model_ready,
            RunStarted: self._run_started,
            CellStarted: self._cell_started,
            CellProgress: self._cell_progress,
            CellDone: self._cell_done,
            SampleDone: self._sample_done,
            CheckStarted: self._check_started,
            AttemptStarted: self._attempt_started,
            AttemptProgress: self._attempt_progress,
            CheckDone: self._check_done,
        }

    def __enter__(self) -> Screen:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        handler = self._handlers.get(type(event))
        if handler:
            handler(event)

    def line(self, text: str) -> None:
        """One line of plain text, above the bars."""
        self.console.write_line(text)

    def _model_ready(self, event: ModelReady) -> None:
        self.line(f"{event.model}: clean accuracy {percent(event.clean)}")
        for finding in event.findings:
            if finding.severity != "info":
                self.line(f"  {finding.severity}: {hanging(finding.title)} ({finding.code})")

    def _run_started(self, event: RunStarted) -> None:
        verb = "going on with" if event.resumed else "writing"
        machine = f"{event.device}, threads {event.threads}, batch {event.batch_size}"
        self.line(f"{verb} {shown_path(event.directory)} ({event.images} images; {machine})")
        for note in event.notes:
            self.line(f"  data: {hanging(note)}")
        self._bars.update(self._whole, total=event.cost)

    def _cell_started(self, event: CellStarted) -> None:
        self._current = event
        self._bars.reset(
            self._cell, total=event.attacked, description=event.title, visible=True, note=""
        )

    def _cell_progress(self, event: CellProgress) -> None:
        standing = (self._current.attacked - event.broken) / max(1, self._current.images)
        note = f"robust at most {standing:.1%}"
        self._bars.update(self._cell, completed=event.finished, note=note)

    def _cell_done(self, event: CellDone) -> None:
        self._bars.update(self._cell, visible=False)
        self._bars.advance(self._whole, event.cost)
        if event.robust is None:
            self.line(f"{event.title}: {event.status}: {hanging(event.reason)}")
            return
        spent = "kept from before" if event.reused else f"{event.seconds:.1f} s"
        again = f"; {event.reason}" if "set aside" in event.reason else ""
        self.line(f"{event.title}: robust {event.robust:.1%}, {spent}{again}")

    def _sample_done(self, event: SampleDone) -> None:
        self._bars.update(self._cell, visible=False)
        self._bars.advance(self._whole, event.cost)
        self.line(f"{event.title}: {sentences.sample(event.evidence, event.images)}")

    def _check_started(self, event: CheckStarted) -> None:
        note = "" if event.seconds is None else f"at most {duration(event.seconds)}"
        self._bars.reset(self._cell, total=None, description=event.title, visible=True, note=note)

    def _attempt_started(self, event: AttemptStarted) -> None:
        """A bar; and once a check a line, if it may take longer than the attacks did."""
        name = f"{event.title}, {event.attempt}"
        self._bars.reset(self._cell, total=event.images, description=name, visible=True, note="")
        if event.longer and self._long != event.title:
            self._long = event.title
            assert event.seconds is not None
            images = f"{event.images} image{'' if event.images == 1 else 's'}"
            self.line(
                f"{name}: up to {duration(event.seconds)} on {images}, verification apart (the "
                f"attacks took {duration(event.attacks)})"
            )

    def _attempt_progress(self, event: AttemptProgress) -> None:
        self._bars.update(self._cell, completed=event.finished, note=f"{event.broken} broken")

    def _check_done(self, event: CheckDone) -> None:
        """A line for what was flagged or failed; the report lists the others."""
        self._bars.update(self._cell, visible=False)
        if event.flagged:
            self.line(f"{event.title}: {hanging(event.sentence)}")


def _with_range(accuracy: Accuracy | None) -> str:
    """An accuracy with its interval, as short as a table needs it."""
    if accuracy is None:
        return "–"
    low, high = accuracy.ci95
    return f"{accuracy.accuracy:.1%} ({100 * low:.1f}–{100 * high:.1f})"


def show_summary(console: PlainConsole, result: AuditResult) -> None:
    """The table that answers the question, then verdict and reasons."""
    title, balanced = one_line(result.title), result.provenance.data.draw == "balanced"
    table = Table(title=title, title_justify="left", show_edge=False, box=box.SIMPLE_HEAD)
    drawn = ", balanced draw" if balanced else ""
    for name in ("model", "threat", f"clean{drawn}", f"robust{drawn}", f"8-bit{drawn}", "masking"):
        table.add_column(name, overflow="fold")
    for model in result.models:
        for threat in model.threats:
            robust_8bit = threat.robust_8bit
            table.add_row(
                one_line(model.name),
                f"{threat.norm} {threat.epsilon_text}",
                f"{model.clean.accuracy:.1%}",
                _with_range(threat.robust),
                f"{robust_8bit.accuracy:.1%}" if robust_8bit else "–",
                model.masking.verdict,
            )
        table.add_section()
    console.print()
    console.print(table)
    console.print()
    if balanced:
        _show_weighted(console, result)
    console.print(
        "Robust: correct under every attack that ran, with 95 % interval; an upper bound, since a "
        "stronger attack can only lower it. 8-bit: counting only examples that survive rounding.",
    )
    for reason in result.reasons:
        console.write_line(hanging(reason))
    for model in result.models:
        why = model.masking.summary
        open_ = model.masking.verdict == "inconclusive"
        if open_ and not any(why.removesuffix(".") in reason for reason in result.reasons):
            console.write_line(hanging(f"{model.name}: masking is inconclusive: {why}"))
    console.print(f"Verdict: {result.verdict}; exit status {result.exit_status}.")


def _show_weighted(console: PlainConsole, result: AuditResult) -> None:
    """What a class-balanced draw says of the whole set."""
    console.write_line("Estimated for the whole set, in which every class counts by its share:")
    for model in result.models:
        found = {"clean": model.clean.weighted}
        for threat in model.threats:
            weighted = threat.robust.weighted if threat.robust else None
            found[f"robust, {threat.norm} {threat.epsilon_text}"] = weighted
        for name, weighted in found.items():
            if weighted is not None:
                low, high = weighted.ci95
                shown = f"{weighted.accuracy:.1%} ({100 * low:.1f}–{100 * high:.1f})"
                console.write_line(f"  {one_line(model.name)}, {name}: {shown}")
