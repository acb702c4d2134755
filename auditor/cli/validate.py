"""`auditor validate`: checks a configuration, and loads neither model nor data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import say
from auditor.cli.options import PluginOption, broken_plugins, executed
from auditor.config.load import load_config


def validate(
    config: Annotated[Path, typer.Argument(metavar="AUDIT.TOML", help="The configuration.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as run.seed=3."),
    ] = None,
    plugins: PluginOption = None,
) -> None:
    """Check a configuration; models and data are not loaded.

    Installed plugins and those that the file or -p names are imported, which runs their code.
    """
    audit, registry = load_config(config, set_ or (), plugins or ())
    source = f"profile {audit.profile}" if audit.attacks_from_profile else "as listed"
    threats = sum(len(threat.epsilons) for threat in audit.threats)
    counts = [
        _count(len(audit.models), "model"),
        _count(threats, "threat"),
        f"{_count(len(audit.attacks), 'attack')} ({source})",
        _count(len(audit.gates), "gate"),
    ]
    say(f"{config} is valid: {', '.join(counts)}. Models and data were not loaded.")
    if imported := executed(registry):
        say(imported)
    if audit.left_out:
        say(f"Left out of the profile by [plugins] disable: {', '.join(audit.left_out)}.")
    for line in broken_plugins(registry):
        say(f"warning: {line}", error=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
