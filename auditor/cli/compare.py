"""`auditor compare`: two finished audits side by side; needs no model, no data and no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from auditor.cli.console import PlainConsole, say
from auditor.cli.runs import result_of
from auditor.cli.terminal import shown_path
from auditor.comparison import Change, Comparison, ModelChange, Source, compare, load
from auditor.comparison.sentences import p_text, pair_text, points, threat_text, unlike
from auditor.errors import UsageError
from auditor.lazy import unseen
from auditor.printable import hanging, one_line
from auditor.results import Accuracy

#: Differences and findings that are shown one by one.
_SHOWN = 12


def compare_(
    a: Annotated[
        Path, typer.Argument(help="The audit before: a run directory, audit.json or PDF report.")
    ],
    b: Annotated[Path, typer.Argument(help="The audit after, likewise.")],
    fail_on_drop: Annotated[
        float | None,
        typer.Option(
            metavar="LIMIT",
            help="Exit status 1 where an accuracy fell by more than this fraction, and by more "
            "than chance explains. Without it no drop fails.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A=B",
            help="Compare A's model of the first name with B's of the second; repeat it. By "
            "default models of one name, or the only ones.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write compare.json, compare.html and compare.pdf into this folder. By default "
            "nothing is written."
        ),
    ] = None,
) -> None:
    """Compare two finished audits image by image: what was lost and won, found and mended.

    Exit statuses: 0 no drop fails; 1 a drop beyond the limit and beyond chance; 2 command line
    wrong; 3 they cannot be compared, or with a limit not in whole; 4 a file of an audit is damaged.
    """
    if fail_on_drop is not None and not 0 <= fail_on_drop < 1:
        raise UsageError(
            f"{fail_on_drop:g} is no limit for a drop.",
            where="--fail-on-drop",
            expected="a fraction of the images, from 0 to below 1: 0.03 is three percent",
            remedy=f"did you mean {fail_on_drop / 100:g}?" if 1 <= fail_on_drop < 100 else "",
        )
    asked = dict(_asked(text) for text in models or ())
    with unseen("torch"):  # SciPy would ask it whether arrays are its own
        sources = _loaded(a), _loaded(b)
        found = compare(*sources, fail_on_drop, asked)
        _show(PlainConsole(), found)
        if output is not None:
            _write(found, sources[1], output)
    raise typer.Exit(found.exit_status)


def _asked(text: str) -> tuple[str, str]:
    one, equals, other = text.partition("=")
    if not (one and equals and other):
        raise UsageError(
            f'"{text}" does not say which models belong together.',
            where="--models",
            expected="NAME_IN_A=NAME_IN_B",
        )
    return one, other


def _loaded(path: Path) -> Source:
    if path.is_dir() or path.name == "audit.json":
        result_of(path)  # what was changed since is not compared
    return load(path)


def _write(found: Comparison, b: Source, folder: Path) -> None:
    from auditor.comparison.files import write

    names = b.result.provenance.data.class_names
    for path in write(found, names, folder, lambda text: say(f"warning: {text}", error=True)):
        say(shown_path(path))


def _show(console: PlainConsole, found: Comparison) -> None:
    """The table that answers the question, what else there is, and the conclusion."""
    for letter, side in (("A", found.a), ("B", found.b)):
        started = side.started[:16].replace("T", " ")
        console.write_line(f"{letter}: {one_line(side.title)}, {started}, {side.path}")
    console.print()
    for model in found.models:
        console.print(_table(model))
        _show_model(console, model)
        console.print()
    for name, rows in (
        ("configuration", found.differences.configuration),
        ("data", found.differences.data),
        ("versions", found.differences.versions),
    ):
        if rows is None:
            console.write_line(f"{name}: not compared, config.lock.toml is not on both sides")
        for one in (rows or ())[:_SHOWN]:
            sides = ("not there" if side is None else one_line(side) for side in (one.a, one.b))
            console.write_line(f"{name}: {one_line(one.key)}: {' | '.join(sides)}")
        if rows and len(rows) > _SHOWN:
            console.write_line(f"{name}: {len(rows) - _SHOWN} more keys differ")
    for caution in found.cautions:
        console.write_line(f"note: {hanging(caution)}")
    for reason in found.reasons:
        console.write_line(hanging(reason))
    console.print(f"Conclusion: {found.conclusion}; exit status {found.exit_status}.")


def _table(model: ModelChange) -> Table:
    title = one_line(pair_text(model))
    table = Table(
        title=title,
        title_justify="left",
        show_edge=False,
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for name in ("", "A", "B", "lost", "won", "points", "p", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    _add(table, "clean", model.clean)
    for threat in model.threats:
        if threat.robust is None:
            table.add_row(threat_text(threat), *["–"] * 6, "not measured")
        else:
            _add(table, threat_text(threat), threat.robust)
        if threat.shared is not None:
            _add(table, "  shared attacks", threat.shared)
    return table


def _add(table: Table, name: str, one: Change) -> None:
    table.add_row(
        name,
        _accuracy(one.a),
        _accuracy(one.b),
        "–" if one.lost is None else str(len(one.lost)),
        "–" if one.won is None else str(len(one.won)),
        points(one.change),
        p_text(one.p_adjusted),
        _word(one),
    )


def _word(one: Change) -> str:
    """What the test says; "same" where not one image is another."""
    if one.outcome != "no difference":
        return "fails" if one.fails else one.outcome
    return "same" if one.lost == one.won == () else "chance"


def _accuracy(one: Accuracy) -> str:
    low, high = one.ci95
    return f"{one.accuracy:.1%} ({100 * low:.0f}–{100 * high:.0f})"


def _show_model(console: PlainConsole, model: ModelChange) -> None:
    a, b = model.masking.a, model.masking.b
    console.write_line(f"masking: {a}" if a == b else f"masking: {a} in A, {b} in B")
    for name, findings in (("new", model.findings.new), ("gone", model.findings.fixed)):
        for one in findings[:_SHOWN]:
            console.write_line(f"finding {name}: {hanging(one.title)} ({one.severity}, {one.code})")
        if len(findings) > _SHOWN:
            console.write_line(f"findings {name}: {len(findings) - _SHOWN} more")
    console.write_line(f"findings unchanged: {len(model.findings.unchanged)}")
    for threat in model.threats:
        if not threat.attacks.alike:
            console.write_line(f"attacks, {threat_text(threat)}: {unlike(threat.attacks)}")
