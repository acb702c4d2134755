"""`auditor compare`: two finished audits side by side; needs no model, no data and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import PlainConsole, say
from auditor.cli.terminal import shown_path
from auditor.comparison import Comparison, compare, words
from auditor.comparison.facts import ModelPair
from auditor.errors import LoadError
from auditor.printable import hanging, one_line
from auditor.reading import read
from auditor.storage import StorageError, storing

_A_RUN = "A run directory, its audit.json, or its report.pdf"


def compare_(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"{_A_RUN}: the earlier audit.")],
    b: Annotated[Path, typer.Argument(metavar="B", help=f"{_A_RUN}: the later one.")],
    fail_on_drop: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Exit status 1 where a robust accuracy fell by more than this share of the "
            "images, such as 0.03, and not by chance.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Also write compare.json, compare.html and compare.pdf into this folder."
        ),
    ] = None,
) -> None:
    """Show what was lost and won between two audits, and whether by chance."""
    comparison = compare(read(a), read(b), fail_on_drop)
    _show(comparison)
    if output is not None:
        from auditor.comparison.page import write

        with storing(output, "made"):
            output.mkdir(parents=True, exist_ok=True)
        try:
            for file in write(comparison, output):
                say(f"comparison: {shown_path(file)}")
        except StorageError:
            raise
        except LoadError as error:
            say(f"warning: {error.render()}", error=True)
    raise typer.Exit(comparison.exit_status)


def _show(comparison: Comparison) -> None:
    console = PlainConsole()
    for name, side in (("A", comparison.a), ("B", comparison.b)):
        console.write_line(f"{name}: {one_line(side.title)} ({side.started}), {side.verdict}")
    for model in comparison.models:
        console.print()
        _show_model(console, model)
    if comparison.differences:
        console.print()
        console.print("What differs:")
    for one in comparison.differences:
        console.write_line(f"  {one.kind} {one_line(one.key)}: {hanging(f'{one.a} -> {one.b}')}")
    console.print()
    for note in comparison.notes:
        console.write_line(f"note: {hanging(note)}")
    console.print(words.outcome(comparison))
    console.print(f"Outcome: {comparison.outcome}; exit status {comparison.exit_status}.")


def _show_model(console: PlainConsole, model: ModelPair) -> None:
    from rich import box
    from rich.table import Table

    name = one_line(model.a if model.a == model.b else f"{model.a} -> {model.b}")
    table = Table(title=name, title_justify="left", show_edge=False, box=box.SIMPLE_HEAD)
    table.add_column("accuracy", overflow="fold")
    for column in ("A", "B", "change", "images", "lost", "won", "p"):
        table.add_column(column, justify="right", overflow="fold")
    for line in model.lines:
        shown = [f"{seen.accuracy:.1%}" if seen else "–" for seen in (line.a, line.b)]
        pair = line.paired
        counts = (
            [f"{pair.images:,}", f"{pair.lost:,}", f"{pair.won:,}", words.p_value(pair.p_value)]
            if pair
            else ["–"] * 4
        )
        what = f"{'clean' if line.norm is None else f'{line.norm} {line.epsilon_text}'}"
        table.add_row(
            what + (" (drop)" if line.dropped else ""), *shown, words.change(line), *counts
        )
    console.print(table)
    for line in model.lines:
        if line.unpaired:
            console.write_line(f"  {words.title(line)}: {line.unpaired}")
        if line.attacks:
            told = "; ".join(line.attacks)
            console.write_line(f"  {words.title(line)}: the attacks differ: {hanging(told)}")
    masking = [words.masking(one) for one in (model.masking_a, model.masking_b)]
    console.write_line(f"  masking: {masking[0]} in A; {masking[1]} in B")
    for one in model.findings:
        if one.state != "unchanged":
            console.write_line(f"  {one.state}: {hanging(one.title)} ({one.severity}, {one.code})")
    same = sum(one.state == "unchanged" for one in model.findings)
    if same:
        console.write_line(f"  unchanged findings: {same}")
