"""`auditor NAME` for the commands of plugins, which are looked for only when they are needed."""

from __future__ import annotations

import traceback
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperGroup

from auditor.cli.console import say
from auditor.cli.options import broken_plugins
from auditor.errors import AuditorError, ExitStatus
from auditor.registry import Registry, load_registry

#: What click itself has to say of a command line, whichever click typer comes with.
_USAGE: type[Exception] = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)


class CommandLine(TyperGroup):
    """Our commands, and behind them those of installed plugins."""

    @cached_property
    def _registry(self) -> Registry:
        return load_registry()

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, for the help."""
        return [*super().list_commands(ctx), *self._registry.commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; None where there is none."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        command = self._registry.commands.get(cmd_name)
        if command is not None:
            return _guarded(command, self._registry.origins["commands", cmd_name])
        for line in broken_plugins(self._registry):  # perhaps one of them would have had it
            say(f"warning: {line}", error=True)
        return None


def _guarded(app: typer.Typer, plugin: str) -> Any:
    """The plugin's command; what it raises is told as a fault of the plugin."""
    command: Any = typer.main.get_command(app)
    invoke = command.invoke

    def guarded(context: Any) -> Any:
        try:
            return invoke(context)
        except (typer.Exit, typer.Abort, _USAGE):
            raise
        except AuditorError as error:
            say(f"error: {error.render()}", error=True)
            raise typer.Exit(int(error.exit_status)) from None
        except Exception:
            say(traceback.format_exc(), error=True)
            say(f"error: this is a defect of the plugin {plugin}.", error=True)
            raise typer.Exit(int(ExitStatus.INTERNAL)) from None

    command.invoke = guarded
    return command
