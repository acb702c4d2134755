"""How a command ends when something goes wrong: one message, one exit status."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from auditor.cli.guard import of_the_machine
from auditor.errors import AuditorError, ExitStatus


def reporting_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, its errors turned into a message on stderr and the exit status they carry."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except AuditorError as error:
            print(f"error: {error.render()}", file=sys.stderr)
            raise typer.Exit(int(error.exit_status)) from None
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(int(ExitStatus.INTERRUPTED)) from None
        except Exception as error:
            if (fault := of_the_machine(error)) is not None:
                print(f"error: {fault.render()}", file=sys.stderr)
                raise typer.Exit(int(fault.exit_status)) from None
            traceback.print_exc()
            print(
                "error: this is a defect of auditor; please report the lines above.",
                file=sys.stderr,
            )
            raise typer.Exit(int(ExitStatus.INTERNAL)) from None

    return wrapped
