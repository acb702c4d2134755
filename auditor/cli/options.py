"""The option -p that several commands have, and what they say of plugins that are broken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from auditor.cli.console import say
from auditor.printable import hanging
from auditor.registry import Registry, load_registry
from auditor.registry.plugin_sources import BUILT_IN, is_file

PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--plugin",
        metavar="FILE_OR_MODULE",
        help="Load this plugin beside the installed ones; repeat it for several.",
    ),
]


def registry_with(plugins: Sequence[str] | None) -> Registry:
    """The registry with the plugins that -p names; broken ones are told on standard error."""
    named = [Path(text).absolute() if is_file(text) else text for text in plugins or ()]
    registry = load_registry(named)
    for line in broken_plugins(registry):
        say(f"warning: {line}", error=True)
    return registry


def executed(registry: Registry) -> str:
    """Which plugins, beside the built-in ones, were imported; empty where none was."""
    foreign = [f"{one.name} ({one.origin})" for one in registry.plugins
               if one.origin != BUILT_IN and one.status != "blocked"]  # fmt: skip
    return f"Imported, which runs their code: {', '.join(foreign)}." if foreign else ""


def broken_plugins(registry: Registry) -> Iterator[str]:
    """What is to be said of each plugin that could not be loaded."""
    for plugin in registry.broken:
        yield (
            f"plugin {plugin.name} is broken and left out: {hanging(plugin.detail)}\n"
            f"  origin: {hanging(plugin.origin)}\n  remedy: {hanging(plugin.remedy)}"
        )
