"""The commands by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from auditor.cli.compare import compare_
from auditor.cli.console import say
from auditor.cli.describe import schema, show
from auditor.cli.doctor import doctor
from auditor.cli.failure import reporting_errors
from auditor.cli.gate import gate
from auditor.cli.init import init
from auditor.cli.listing import list_
from auditor.cli.plugin import plugin
from auditor.cli.plugin_commands import CommandLine
from auditor.cli.render import report
from auditor.cli.run import run
from auditor.cli.selftest import selftest
from auditor.cli.validate import validate
from auditor.registry import auditor_version

_EPILOG = (
    "Exit statuses: 0 every gate held; 1 a gate is broken; 2 command line or configuration wrong; "
    "3 inconclusive; 4 model, data, plugin or environment could not be loaded; 5 internal error; "
    "130 interrupted; 141 what reads the output went away."
)

app = typer.Typer(
    name="auditor",
    cls=CommandLine,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
    help="Audits how robust an image classifier is, and whether that number can be believed.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(auditor_version())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


_COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "init": init,
    "validate": validate,
    "doctor": doctor,
    "list": list_,
    "show": show,
    "report": report,
    "gate": gate,
    "compare": compare_,
    "selftest": selftest,
    "schema": schema,
}

for _name, _command in _COMMANDS.items():
    app.command(_name, epilog=_EPILOG if _name == "run" else None)(reporting_errors(_command))

app.add_typer(plugin, name="plugin")
