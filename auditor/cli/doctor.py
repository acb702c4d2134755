"""`auditor doctor`: does everything work that an audit needs?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from auditor.cli.console import PlainConsole, say
from auditor.doctor import Outcome, Proof, examine, exit_status
from auditor.printable import hanging

_STYLES: Mapping[Outcome, str] = MappingProxyType(
    {"ok": "green", "note": "", "warning": "yellow", "failed": "bold red", "not tried": "dim"}
)
_MARK = max(map(len, _STYLES))


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[AUDIT.TOML]", help="A configuration whose data and models are tried too."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Prove that an audit can run here, and say what to do where it cannot.

    With an AUDIT.TOML its plugins, data and models are loaded, which runs their code.

    The exit status is 0 if everything that is needed works, 2 if the configuration is wrong, else
    4.
    """
    if json_:
        proofs = list(examine(config))
        status = exit_status(proofs)
        rows = [dataclasses.asdict(proof) for proof in proofs]
        document = {"exit_status": int(status), "proofs": rows}
        say(json.dumps(document, indent=2))
    else:
        proofs = list(_printed(PlainConsole(), examine(config)))
        status = exit_status(proofs)
        say(f"\n{_summary(proofs)} Exit status {int(status)}.")
    raise typer.Exit(int(status))


def _printed(console: PlainConsole, proofs: Iterator[Proof]) -> Iterator[Proof]:
    """The same, each printed as soon as it is there, below the heading of its area."""
    area = ""
    spinner = "line" if console.ascii_only else "dots"
    while True:
        with console.status(Text(f"{area or 'Looking'} ..."), spinner=spinner):
            proof = next(proofs, None)
        if proof is None:
            return
        if proof.area != area:
            area = proof.area
            console.print(Text(area, "bold"))
        console.print(Padding(_row(proof), (0, 0, 0, 2)))
        yield proof


def _row(proof: Proof) -> Table:
    """Outcome and sentence side by side, with the details below the sentence."""
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=_MARK)
    row.add_column(overflow="fold")
    row.add_row(Text(proof.outcome, _STYLES[proof.outcome]), Text(hanging(proof.what)))
    for name in ("where", "expected", "remedy"):
        text = getattr(proof, name)
        if text:
            row.add_row("", _detail(name, text))
    return row


def _detail(name: str, text: str) -> Table:
    detail = Table.grid(padding=(0, 1, 0, 0))
    detail.add_column(width=len("expected:"))
    detail.add_column(overflow="fold")
    # Excerpts of files are indented for errors, which have no columns.
    detail.add_row(f"{name}:", Text("\n".join(line.strip() for line in text.splitlines())))
    return detail


def _summary(proofs: list[Proof]) -> str:
    counts = {outcome: sum(one.outcome == outcome for one in proofs) for outcome in _STYLES}
    if not counts["failed"]:
        text = "Everything that is needed works."
    else:
        text = f"{counts['failed']} failed."
    if counts["warning"]:
        text += f" {counts['warning']} warnings." if counts["warning"] > 1 else " 1 warning."
    return text
