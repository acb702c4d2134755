"""`auditor run`: the audit."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.cli.console import PlainConsole, say, standard_output_kept
from auditor.cli.failure import reporting_errors
from auditor.cli.guard import GuardedScreen, each_warning_once, no_silent_end, of_the_machine
from auditor.cli.options import PluginOption, broken_plugins
from auditor.cli.runs import left_over
from auditor.cli.terminal import Screen, shown_path
from auditor.config import AuditConfig, load_config
from auditor.doctor.pdf import letters
from auditor.errors import AuditorError, ExitStatus, LoadError, UsageError, text_of
from auditor.protocols.events import ReportsWritten
from auditor.registry import Registry
from auditor.report import write_reports
from auditor.selftest.storage import stored
from auditor.storage import StorageError
from auditor.usercode.calls import keep_traceback

if TYPE_CHECKING:
    from auditor.audit.audit import Audit


@dataclass
class _Asked:
    """A run as the command line asks for it, and once it is under way, its audit."""

    config: Path
    overrides: list[str]
    plugins: list[str]
    resume: bool | None
    audit: Audit | None = None

    def load(self) -> tuple[PlainConsole, AuditConfig, Registry]:
        """The configuration, and where to show what comes of it; broken plugins are told."""
        settings, registry = load_config(self.config, self.overrides, self.plugins)
        console = PlainConsole()
        for line in broken_plugins(registry):
            console.write_line(f"warning: {line}")
        return console, settings, registry

    @property
    def command(self) -> str:
        """The line that asks for it again."""
        words = ["auditor", "run", shown_path(self.config)]
        words += [word for text in self.overrides for word in ("--set", text)]
        return shlex.join(words + [word for text in self.plugins for word in ("-p", text)])

    def line(self, status: int) -> str:
        """What it came to, in JSON; null where it did not come so far."""
        ledger = self.audit.ledger if self.audit else None
        result = self.audit.result if self.audit else None
        return json.dumps(
            {
                "directory": str(ledger.directory) if ledger else None,
                "verdict": result.verdict if result and result.exit_status == status else None,
                "status": status,
            }
        )


def run(
    config: Annotated[Path, typer.Argument(help="The audit.toml.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as run.seed=3."),
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--fresh",
            help="Go on with an unfinished run of the same configuration, or never do. "
            "Without either, a run that was cut off is gone on with.",
        ),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print the cells and their estimated cost; run no attack and load no model. "
            "Plugins are imported and the data are read, by your own function where one is named.",
        ),
    ] = False,
    json_: Annotated[
        bool,
        typer.Option(
            "--json",
            help="One line of JSON on standard output at the end: directory, verdict, status; "
            "everything else on standard error.",
        ),
    ] = False,
    plugins: PluginOption = None,
) -> None:
    """Run the audit, write the reports, then apply the gates."""
    asked = _Asked(config, set_ or [], plugins or [], resume)
    if plan and json_:
        raise UsageError(
            "--json tells what a run came to, and --plan runs nothing.",
            expected="one of the two",
            remedy="leave one of them out",
        )
    if plan:
        from auditor.cli.plan import print_plan

        print_plan(*asked.load())
    elif json_:
        _tell_in_json(asked)
    else:
        raise typer.Exit(_run(asked))


def _tell_in_json(asked: _Asked) -> None:
    """Run it, and say nothing on standard output but what it came to."""

    @reporting_errors
    def command() -> None:
        raise typer.Exit(_run(asked))

    try:
        with standard_output_kept():
            command()
    except typer.Exit as end:
        say(asked.line(end.exit_code))
        raise


def _run(asked: _Asked) -> int:
    """Run the audit and everything after it; returns the exit status."""
    from auditor.audit.audit import Audit
    from auditor.audit.sinks import Broadcast

    console, settings, registry = asked.load()
    if "pdf" in settings.report.formats:
        for proof in letters(settings):
            console.write_line(f"warning: {proof.what}\n  remedy: {proof.remedy}")
    screen, command = GuardedScreen(Screen(console)), asked.command

    def warn(text: str) -> None:
        """At the terminal, and in the log of the run once there is one."""
        screen.line(f"warning: {text}")
        if audit.ledger is not None:
            audit.ledger.log("warning", text=text)

    listener = Broadcast(screen, registry, settings.tracks, warn)
    audit = Audit(settings, registry, command, listener, asked.resume, selftest=stored())
    asked.audit = audit
    try:
        # Locked until the reports are written: nobody else is to write them at the same time.
        with contextlib.closing(audit), no_silent_end(), each_warning_once(screen.line):
            with screen:
                result = audit.run()
            screen.summary(result)
            assert audit.ledger is not None  # there is a result, so there is a run
            directory, formats = audit.ledger.directory, settings.report.formats
            files = _report(screen, directory, formats, registry, warn)
            audit.ledger.log("reports", files=[path.name for path in files])
            if old := left_over(directory, files):
                warn(old)
            listener(ReportsWritten(directory, tuple(files)))
            audit.ledger.finish(result.status, result.exit_status)
    except KeyboardInterrupt:
        _kept(screen, audit, command, "Interrupted.", "Interrupted before anything was finished.")
        return int(ExitStatus.INTERRUPTED)
    except Exception as error:
        fault = of_the_machine(error)
        if fault is not None:
            return _refused(screen, audit, command, fault)
        _keep_traceback(screen, audit, error)
        raise
    if isinstance(screen.failure, BrokenPipeError):
        raise screen.failure
    return result.exit_status


def _report(
    screen: GuardedScreen,
    directory: Path,
    formats: list[str],
    registry: Registry,
    warn: Callable[[str], None],
) -> list[Path]:
    """Write the reports; what one of them lacks costs that one and nothing else.

    Returns:
        Those that could be written.

    Raises:
        StorageError: the disk refuses one of them; all others were written.
    """
    files: list[Path] = []

    def wrote(path: Path) -> None:
        files.append(path)
        screen.line(f"report: {shown_path(path)}")

    try:
        write_reports(
            directory,
            formats,
            registry.reports,
            registry.signed_sections,
            warn,
            wrote,
        )
    except StorageError:
        raise
    except UsageError as error:  # audit.json, which was written a moment ago, has gone
        raise StorageError(error.what, where=error.where, expected=error.expected) from error
    except LoadError as error:
        warn(error.render())
    return files


def _refused(screen: GuardedScreen, audit: Audit, command: str, fault: LoadError) -> int:
    """Tell what the machine refused and what is kept; where there is a result, its gates count."""
    say(f"error: {fault.render()}", error=True)
    if audit.ledger is not None:
        _kept(screen, audit, command, "", "Nothing was kept.")
    if audit.result is None:
        return int(ExitStatus.LOAD)
    broken = audit.result.exit_status == ExitStatus.GATE_BROKEN
    status = ExitStatus.GATE_BROKEN if broken else ExitStatus.INCONCLUSIVE
    for reason in audit.result.reasons:
        screen.line(reason)
    screen.line(f"Not everything could be written, so that the exit status is {int(status)}.")
    return int(status)


def _keep_traceback(screen: GuardedScreen, audit: Audit, error: Exception) -> None:
    """Keep that of a defect of ours, or of what user code raised, where there is a run."""
    raised = error.__cause__ if isinstance(error, AuditorError) else error
    if audit.ledger is None or raised is None:
        return
    directory = audit.ledger.directory
    name = keep_traceback(raised, directory)
    if name:
        screen.line(f"the traceback is in {shown_path(directory / name)}")
    with contextlib.suppress(StorageError):
        audit.ledger.log("failed", reason=text_of(error), traceback=name)


def _kept(screen: GuardedScreen, audit: Audit, command: str, before: str, nothing: str) -> None:
    """Say what is kept, and how to go on."""
    directory = audit.ledger.directory if audit.ledger else None
    if directory is None or not directory.is_dir():
        screen.line(nothing)
        return
    kept = f"What was finished is kept in {shown_path(directory)}; go on with:"
    screen.line(f"{before} {kept}".strip())
    screen.line(f"  {command} --resume")
