"""`auditor selftest`: the masking verdict on the reference defenses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from auditor.cli.console import PlainConsole, say
from auditor.cli.terminal import shown_path
from auditor.config.problems import listed
from auditor.errors import ExitStatus, UsageError, did_you_mean
from auditor.protocols.events import CellStarted, CheckStarted, Event
from auditor.registry import load_registry
from auditor.results import SelftestRecord
from auditor.selftest.references import REFERENCES, Reference
from auditor.selftest.storage import store
from auditor.storage import StorageError

if TYPE_CHECKING:
    from auditor.selftest.examine import Examined

#: The profile whose result is kept: what audits run by default.
_PROFILE = "standard"


def selftest(
    profile: Annotated[
        str, typer.Option("--profile", help="Attacks and checks that are run.")
    ] = _PROFILE,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Run this one; repeat it for several."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Run the masking verdict on reference defenses; print hits, misses and false alarms.

    The exit status is 0 if every mask is found and no honest model is blamed, else 1. The result of
    all references under the standard profile is kept, and quoted by the reports of later audits.
    """
    chosen = _chosen(only or [])
    _check_profile(profile)
    examined = _examine(chosen, profile)
    from auditor.selftest.examine import summed_up

    record = summed_up(examined)
    whole = len(chosen) == len(REFERENCES) and profile == _PROFILE
    console = PlainConsole()
    if json_:
        say(json.dumps(_as_json(record, examined, profile), indent=2))
    else:
        console.print(_table(examined))
        console.write_line(_sentence(record, examined))
    note = _keep(record) if whole else "Not kept for reports: only part of the self-test was run."
    say(note, error=True)
    wrong = record.misses or record.false_alarms
    raise typer.Exit(int(ExitStatus.GATE_BROKEN if wrong else ExitStatus.OK))


def _chosen(names: Sequence[str]) -> list[Reference]:
    known = [reference.name for reference in REFERENCES]
    for name in names:
        if name not in known:
            raise UsageError(
                f'There is no reference defense called "{name}".',
                where="--only",
                expected=listed(known),
                remedy=did_you_mean(name, known) or "name one of these",
            )
    return [reference for reference in REFERENCES if not names or reference.name in names]


def _check_profile(name: str) -> None:
    known = sorted(load_registry().profiles)
    if name not in known:
        raise UsageError(
            f'There is no profile called "{name}".',
            where="--profile",
            expected=listed(known),
            remedy=did_you_mean(name, known) or "see them with: auditor list profiles",
        )


def _examine(references: Sequence[Reference], profile: str) -> list[Examined]:
    """Audit one after another, and show on stderr which is being audited."""
    from auditor.selftest.examine import examine

    console = PlainConsole(stderr=True)
    bars = Progress(
        TextColumn("self-test"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = bars.add_task("", total=len(references))

    def show(event: Event) -> None:
        if isinstance(event, (CellStarted, CheckStarted)):
            bars.update(task, description=event.title)

    examined = []
    with tempfile.TemporaryDirectory(prefix="auditor-selftest-") as folder, bars:
        for reference in references:
            bars.update(task, description=reference.name)
            examined.append(examine(reference, Path(folder), profile, show))
            bars.advance(task)
            last = examined[-1]
            console.write_line(f"{reference.name}: {_verdict(last)}, {last.seconds:.0f} s")
    return examined


def _verdict(one: Examined) -> str:
    mark = " (missed)" if one.missed else " (false alarm)" if one.blamed else ""
    return one.masking.verdict + mark


def _table(examined: Sequence[Examined]) -> Table:
    table = Table(show_edge=False, box=box.SIMPLE_HEAD)
    for name in ("reference", "what it is", "expected", "verdict", "kind", "culprit"):
        table.add_column(name, overflow="fold", no_wrap=name == "reference")
    for name in ("corrected", "seconds"):
        table.add_column(name, justify="right")
    for one in examined:
        masking, reference = one.masking, one.reference
        corrected = masking.corrected_accuracy
        style = "bold red" if one.missed or one.blamed else ""
        table.add_row(
            reference.name,
            reference.about,
            "masked" if reference.masks else "honest",
            Text(_verdict(one), style),
            masking.kind or "–",
            Text(masking.culprit or "–"),
            "–" if corrected is None else f"{corrected:.1%}",
            f"{one.seconds:.0f}",
        )
    return table


def _sentence(record: SelftestRecord, examined: Sequence[Examined]) -> str:
    """What came of it, in numbers."""
    masks = record.hits + record.misses
    honest = len(examined) - masks
    text = (
        f"{record.hits} of {masks} masks found, {record.misses} missed; "
        f"{record.false_alarms} false alarms on {honest} honest controls."
    )
    undecided = sum(
        one.masking.verdict == "inconclusive" and not one.reference.masks for one in examined
    )
    return f"{text} {undecided} honest controls were inconclusive." if undecided else text


def _as_json(record: SelftestRecord, examined: Sequence[Examined], profile: str) -> object:
    return {
        "version": record.version,
        "date": record.date,
        "profile": profile,
        "hits": record.hits,
        "misses": record.misses,
        "false_alarms": record.false_alarms,
        "rows": [
            {
                "name": one.reference.name,
                "about": one.reference.about,
                "masks": one.reference.masks,
                "expected": one.reference.expected,
                "verdict": one.masking.verdict,
                "kind": one.masking.kind,
                "culprit": one.masking.culprit,
                "corrected_accuracy": one.masking.corrected_accuracy,
                "summary": one.masking.summary,
                "seconds": round(one.seconds, 1),
            }
            for one in examined
        ],
    }


def _keep(record: SelftestRecord) -> str:
    """Store the record for reports; what to say of it."""
    try:
        return f"Kept for the reports of this version: {shown_path(store(record))}"
    except StorageError as error:
        return f"warning: the result could not be kept for reports: {error.what}"
