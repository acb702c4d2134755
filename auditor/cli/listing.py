"""`auditor list`: what is available, one line each."""

from __future__ import annotations

import dataclasses
import inspect
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len, set_cell_size

from auditor.cli.console import PlainConsole, say
from auditor.cli.options import PluginOption, registry_with
from auditor.cli.run_list import run_rows
from auditor.errors import UsageError
from auditor.maths.norms import Norm, summary_of
from auditor.printable import one_line
from auditor.protocols.attack import AttackSpec
from auditor.protocols.check import CheckSpec
from auditor.protocols.hookspecs import Profile
from auditor.registry import Registry
from auditor.registry.plugin_sources import BUILT_IN
from auditor.report import FORMATS

_Row = dict[str, Any]


class Kind(StrEnum):
    """What `auditor list` can list: what plugins offer, by the registry's names; and two more."""

    ATTACKS = "attacks"
    CHECKS = "checks"
    COMMANDS = "commands"
    DATA = "data"
    MODELS = "models"
    NORMS = "norms"
    PLUGINS = "plugins"
    PROFILES = "profiles"
    REPORTS = "reports"
    RUNS = "runs"
    SECTIONS = "sections"
    SINKS = "sinks"
    SURROGATES = "surrogates"
    TRACKERS = "trackers"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Of runs: where they are. [default: audits]"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    plugins: PluginOption = None,
) -> None:
    """List what is available, one line each; `auditor show NAME` says more.

    Installed plugins and those of -p are imported for it. `auditor list runs [DIR]` lists the
    audits in a folder, newest first.
    """
    if kind is Kind.RUNS:
        _list_runs(folder or Path("audits"), json_)
        return
    if folder is not None:
        raise UsageError(
            f"{kind.value} are in no folder.",
            where=str(folder),
            expected="a folder after `runs` alone",
            remedy=f"auditor list {kind.value}, or: auditor list runs {folder}",
        )
    registry = registry_with(plugins)
    rows = _plugin_rows(registry) if kind is Kind.PLUGINS else _rows(registry, kind)
    if json_:
        say(json.dumps(rows, indent=2))
    elif not rows:
        say(f"No {kind.value} are installed.")
    else:
        _print_lines(_plugin_cells(rows) if kind is Kind.PLUGINS else _cells(rows, registry))


def _list_runs(folder: Path, json_: bool) -> None:
    rows = run_rows(folder)
    if json_:
        say(json.dumps([row.plain() for row in rows], indent=2))
    elif not rows:
        say(f"There are no runs in {folder}.")
    else:
        _print_lines([row.cells for row in rows], "auditor report DIR writes a report anew")


def offered(registry: Registry, kind: str) -> dict[str, Any]:
    """What there is of a kind, by name: the registry's, and the formats that are no plugin's."""
    found: dict[str, Any] = getattr(registry, kind)
    return {**FORMATS, **found} if kind == Kind.REPORTS else found


def summary(one: Any) -> str:
    """What something that plugins offer is, in a line."""
    if isinstance(one, Profile):
        attacks = ", ".join(entry.get("label", entry["use"]) for entry in one.attacks)
        return f"Version {one.version}: {attacks or 'no attacks'}; {len(one.checks)} checks."
    if isinstance(one, typer.Typer):
        return (typer.main.get_command(one).help or "").split("\n", 1)[0]
    if isinstance(one, Norm):
        return summary_of(one)
    if callable(one):  # a format of ours
        return (inspect.getdoc(one) or "").split("\n", 1)[0]
    return str(one.summary)


def _rows(registry: Registry, kind: Kind) -> list[_Row]:
    rows = [
        {
            "name": name,
            **_own(one, registry),
            "plugin": registry.origins.get((kind.value, name), ""),
        }
        for name, one in offered(registry, kind).items()
    ]
    # Trackers are sinks that are asked for by name.
    return rows + _rows(registry, Kind.TRACKERS) if kind is Kind.SINKS else rows


def _own(one: Any, registry: Registry) -> _Row:
    """The summary, and what programs are told of some kinds alone."""
    said = {"summary": summary(one)}
    if isinstance(one, AttackSpec):
        norms = [name for name in sorted(registry.norms) if one.knows(name)]
        return {"norms": norms, "needs": one.needs, **said, "reference": one.reference}
    if isinstance(one, CheckSpec):
        return {**said, "reference": one.reference}
    if isinstance(one, Profile):
        attacks, checks = (
            [entry.get("label", entry["use"]) for entry in entries]
            for entries in (one.attacks, one.checks)
        )
        return {"version": one.version, "attacks": attacks, "checks": checks, **said}
    return said


def _plugin_rows(registry: Registry) -> list[_Row]:
    rows = [dataclasses.asdict(record) for record in registry.plugins]
    names = ("name", "status", "origin", "version", "detail", "remedy")
    return [{name: row[name] for name in names} for row in rows]


def _cells(rows: list[_Row], registry: Registry) -> list[list[str]]:
    """Name and summary, and the plugin of what is not built in."""
    foreign = {record.name for record in registry.plugins if record.origin != BUILT_IN}
    return [
        [row["name"], row["summary"] + (f" (plugin {row['plugin']})" * (row["plugin"] in foreign))]
        for row in rows
    ]


def _plugin_cells(rows: list[_Row]) -> list[list[str]]:
    """What to do about broken plugins is said in whole sentences, on standard error."""
    return [[row[name] for name in ("name", "status", "version", "origin", "detail")]
            for row in rows]  # fmt: skip


def _print_lines(rows: list[list[str]], more: str = "auditor show NAME says more") -> None:
    """A line for each; on a terminal no wider than that, elsewhere whole."""
    console = PlainConsole()
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [set_cell_size(cell, width) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(padded).rstrip()
        if console.is_terminal and cell_len(line) > console.width:
            dots = "..." if console.ascii_only else "…"
            line = set_cell_size(line, console.width - len(dots)) + dots
        console.write_line(line)
    if console.is_terminal:
        console.write_line(f"\n{more}; --json all of it.")
