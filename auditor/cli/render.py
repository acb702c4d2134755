"""`auditor report`: render again from audit.json."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import say
from auditor.cli.options import PluginOption, registry_with
from auditor.cli.terminal import shown_path
from auditor.config.load import unknown_format
from auditor.errors import AuditorError, UsageError, did_you_mean, told
from auditor.language import languages
from auditor.report import FORMATS, write_reports
from auditor.storage import storing


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
        raise unknown_format(unknown[0], known, where="--format")
    if language not in ("", *languages()):
        raise UsageError(
            f'There is no catalogue of the language "{language}".',
            where="--language",
            expected=f"one of: {', '.join(languages())}",
            remedy=did_you_mean(language, languages()),
        )
    known_hashes = _hashes(directory)
    if known_hashes and not _is_one_of(directory / "audit.json", known_hashes):
        raise UsageError(
            "audit.json is not what the audit wrote: it was changed or damaged since.",
            where=str(directory / "audit.json"),
            expected=f"a file with the SHA-256 {known_hashes[-1]}, which events.jsonl has",
            remedy="take it from where the run was archived, or run the audit again",
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
        if known_hashes:  # then the file is not to blame
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


def _is_one_of(file: Path, hashes: list[str]) -> bool:
    with storing(file, "read"):
        return hashlib.sha256(file.read_bytes()).hexdigest() in hashes


def _hashes(directory: Path) -> list[str]:
    """What events.jsonl says of audit.json; nothing where it is damaged or has gone as well."""
    try:
        lines = (directory / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict) and event.get("event") == "result":
                found.append(str(event.get("sha256")))
    return found
