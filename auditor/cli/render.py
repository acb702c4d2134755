"""`auditor report`: render again from audit.json."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import say
from auditor.cli.options import PluginOption, registry_with
from auditor.cli.runs import result_of
from auditor.cli.terminal import shown_path
from auditor.config.load import unknown_format
from auditor.errors import AuditorError, UsageError, told
from auditor.language import languages
from auditor.report import FORMATS, write_reports


def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, or its audit.json.")],
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}, markdown, junit, sarif, model-card, or a plugin's; repeat "
            "it, or separate by commas.",
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option(help=f"{', '.join(languages())}; by default what audit.toml said."),
    ] = "",
    plugins: PluginOption = None,
) -> None:
    """Render the reports again from audit.json; needs no model and no GPU."""
    directory, vouched = result_of(run_directory)
    registry = registry_with(plugins)
    known = [*FORMATS, *registry.reports]
    wanted = [name for text in formats or list(FORMATS) for name in text.split(",")]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise unknown_format(unknown[0], known, where="--format")
    if language not in ("", *languages()):
        raise UsageError(
            f'There is no catalogue of the language "{language}".',
            where="--language",
            expected=f"one of: {', '.join(languages())}",
            remedy="name one of these, or leave the option out",
        )
    try:
        write_reports(
            directory,
            wanted,
            registry.reports,
            registry.signed_sections,
            _tell,
            _show,
            language,
        )
    except AuditorError:
        raise
    except Exception as error:
        if vouched:  # then the file is not to blame
            raise
        raise UsageError(
            f"No report can be made from this audit.json: {told(error)}",
            where=str(directory / "audit.json"),
            expected="the file as `auditor run` wrote it, with events.jsonl beside it",
            remedy="name the run directory itself; if nobody changed the file, please report this",
        ) from error


def _show(path: Path) -> None:
    say(shown_path(path))


def _tell(text: str) -> None:
    say(f"warning: {text}", error=True)
