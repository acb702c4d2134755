"""How a command ends when something goes wrong: one message, one exit status."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

import typer

from auditor.cli.console import say
from auditor.cli.guard import of_the_machine
from auditor.errors import AuditorError, ExitStatus


def reporting_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, its errors turned into a message on stderr and the exit status they carry."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except AuditorError as error:
            say(f"error: {error.render()}", error=True)
            raise typer.Exit(int(error.exit_status)) from None
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            say("interrupted", error=True)
            raise typer.Exit(int(ExitStatus.INTERRUPTED)) from None
        except Exception as error:
            if (fault := of_the_machine(error)) is not None:
                say(f"error: {fault.render()}", error=True)
                raise typer.Exit(int(fault.exit_status)) from None
            say(traceback.format_exc(), error=True)
            say("error: this is a defect of auditor; please report the lines above.", error=True)
            raise typer.Exit(int(ExitStatus.INTERNAL)) from None

    return wrapped
