"""`auditor report`: render again from audit.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import say
from auditor.cli.options import PluginOption, registry_with
from auditor.cli.terminal import shown_path
from auditor.errors import UsageError
from auditor.report import FORMATS, write_reports


def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, or its audit.json.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}, or a plugin's; repeat it, or separate by commas.",
        ),
    ] = None,
    plugins: PluginOption = None,
) -> None:
    """Render the reports again from audit.json; needs no model and no GPU."""
    directory = run_directory.parent if run_directory.name == "audit.json" else run_directory
    if not (directory / "audit.json").is_file():
        raise UsageError(
            "There is no audit.json.",
            where=str(run_directory),
            expected="the directory of a finished run",
            remedy="name one of the directories that `auditor run` wrote",
        )
    registry = registry_with(plugins)
    known = [*FORMATS, *registry.reports]
    wanted = [name for text in formats or list(FORMATS) for name in text.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(
            f"There is no report format {unknown[0]!r}.",
            where="--format",
            expected=f"one of: {', '.join(known)}",
            remedy="auditor list reports",
        )
    written = write_reports(directory, wanted, registry.reports, registry.signed_sections, _tell)
    for path in written:
        say(shown_path(path))


def _tell(text: str) -> None:
    say(f"warning: {text}", error=True)
