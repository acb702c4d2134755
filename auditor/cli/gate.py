"""`auditor gate`: judges a finished run again; needs no model, no data and no torch."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.console import PlainConsole, say
from auditor.cli.options import PluginOption, registry_with
from auditor.cli.runs import left_over, result_of
from auditor.cli.terminal import show_summary, shown_path
from auditor.config.requirements import Requirements, read_requirements
from auditor.config.source import read_source
from auditor.errors import LoadError, UsageError
from auditor.gates import judged
from auditor.journal import JUDGED, Journal
from auditor.reading import read
from auditor.registry import Registry
from auditor.report import FORMATS, write_reports
from auditor.results import AuditResult
from auditor.storage import StorageError, write_atomically

_LOCK = "config.lock.toml"


def gate(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, or its audit.json.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The audit.toml whose gates, title, rationales and reports count; by default "
            "those of the run, judged as of today.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as title=..."),
    ] = None,
    plugins: PluginOption = None,
) -> None:
    """Judge a finished run again under other gates, and write its reports anew."""
    directory, _ = result_of(run_directory)
    before = read(directory).result
    source = read_source(config or directory / _LOCK, set_ or ())
    asked = read_requirements(source, before)
    registry = registry_with(plugins)
    journal = Journal(directory)
    with _alone(journal):
        result = _judged_again(before, asked)
        for what in asked.unlike:
            _warn(f"{what}: the numbers are those of the run")
        _write(journal, result, asked)
        console = PlainConsole()
        show_summary(console, result)
        _write_reports(journal, asked, registry)
        journal.finish(result.status, result.exit_status)
    raise typer.Exit(result.exit_status)


def _judged_again(before: AuditResult, asked: Requirements) -> AuditResult:
    """The result as the file wants it judged and presented."""
    models = tuple(
        replace(
            model,
            threats=tuple(
                replace(
                    threat,
                    rationale=asked.rationales.get((threat.norm, threat.epsilon), threat.rationale),
                )
                for threat in model.threats
            ),
        )
        for model in before.models
    )
    presented = replace(
        before,
        title=asked.title or before.title,
        reviewers=tuple(asked.report.reviewers),
        language=asked.report.language,
        models=models,
    )
    return judged(presented, asked.gates, datetime.datetime.now(datetime.UTC).date())


@contextlib.contextmanager
def _alone(journal: Journal) -> Iterator[None]:
    """Nobody else is at work on the run meanwhile."""
    if not journal.try_lock():
        raise UsageError(
            "Another process is at work on this run.",
            where=str(journal.directory),
            expected="a run that has ended",
            remedy="wait until it has, or stop it",
        )
    try:
        yield
    finally:
        journal.unlock()


def _write(journal: Journal, result: AuditResult, asked: Requirements) -> None:
    """The lock file, then audit.json."""
    journal.log(JUDGED, gates=len(asked.gates))
    lock = journal.directory / _LOCK
    if lock.is_file():
        write_atomically(lock, _relocked(lock, result, asked).encode())
    journal.keep(result)


def _relocked(lock: Path, result: AuditResult, asked: Requirements) -> str:
    """The text of the lock file with what was judged and presented otherwise."""
    import tomlkit

    document: Any = tomlkit.parse(lock.read_text(encoding="utf-8"))
    document["title"] = result.title
    document["report"] = _plain(asked.report.model_dump())
    document["gate"] = [_plain(one.model_dump()) for one in asked.gates]
    for threat in document.get("threat", ()):
        found = [text for (norm, _), text in asked.rationales.items() if norm == threat["norm"]]
        if found:
            threat["rationale"] = found[0]
    return tomlkit.dumps(document)


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value is not None}


def _write_reports(journal: Journal, asked: Requirements, registry: Registry) -> None:
    known = (*FORMATS, *registry.reports)
    formats = [name for name in asked.report.formats if name in known]
    for name in asked.report.formats:
        if name not in known:
            _warn(f"the format {name} is not written: name the plugin that offers it by -p")
    files: list[Path] = []

    def wrote(path: Path) -> None:
        files.append(path)
        say(f"report: {shown_path(path)}")

    try:
        write_reports(
            journal.directory,
            formats,
            registry.reports,
            registry.signed_sections,
            _warn,
            wrote,
        )
    except StorageError:
        raise
    except LoadError as error:
        _warn(error.render())
    journal.log("reports", files=[path.name for path in files])
    if old := left_over(journal.directory, files):
        _warn(old)


def _warn(text: str) -> None:
    say(f"warning: {text}", error=True)
