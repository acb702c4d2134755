"""`auditor plugin`: a new plugin's package, and whether a plugin holds what it has to."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from auditor.cli.console import say
from auditor.cli.failure import reporting_errors
from auditor.cli.terminal import shown_path
from auditor.errors import ExitStatus, UsageError
from auditor.registry import load_registry
from auditor.report import FORMATS
from auditor.scaffold import FIELDS, Kind, Names, write_plugin

plugin = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a plugin of your own, and check that it keeps the rules.",
)


def new(
    name: Annotated[str, typer.Argument(help="What users will write after `use =`.")],
    kind: Annotated[Kind, typer.Option("--kind", help="What it offers.")] = Kind.ATTACK,
) -> None:
    """Write the package of a new plugin into a folder of its own."""
    registry = load_registry()
    field = FIELDS[kind]
    if name in getattr(registry, field) or (kind is Kind.REPORTER and name in FORMATS):
        raise UsageError(
            f"There is {'an attack' if kind is Kind.ATTACK else f'a {kind.value}'} called "
            f'"{name}" already, of plugin {registry.origins.get((field, name), "auditor")}.',
            expected="a name of its own",
            remedy="choose another name",
        )
    for file in write_plugin(name, kind, Path()):
        say(shown_path(file))
    folder, module = Names(name).package, Names(name).module
    tried = (
        "pytest" if kind is Kind.REPORTER else f"auditor plugin check {module}      # or: pytest"
    )
    say(
        "\nIt works as it stands. Next:\n\n"
        f"  cd {folder}\n"
        "  pip install -e '.[test]'\n"
        f"  auditor show {name}\n"
        f"  {tried}\n\n"
        f"Then make src/{module}/__init__.py your own."
    )


def check(
    name: Annotated[
        str, typer.Argument(metavar="MODULE_OR_FILE", help="A module, a file.py, or a plugin.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME.KEY=VALUE", help="A parameter of what it offers."),
    ] = None,
) -> None:
    """Run the conformance kit on a plugin: every property of everything it offers.

    The exit status is 0 if all of them hold, 1 if one does not, 4 if it cannot be loaded.
    """
    parameters = _parameters(set_ or [])
    from auditor.testing import NonConformance, conformance_cases
    from auditor.testing.offered import load_plugin

    broken = total = 0
    thing = ""
    for case in conformance_cases(load_plugin(name), parameters):
        if case.thing != thing:
            thing = case.thing
            say(f"{thing}")
        total += 1
        try:
            case.run()
        except NonConformance as error:
            broken += 1
            lines = str(error).splitlines()[1:]
            say("\n".join([f"  FAILS {case.property}", *(f"    {line}" for line in lines)]))
        else:
            say(f"  holds {case.property}: {case.meaning}")
    say(f"{total - broken} of {total} properties hold.")
    raise typer.Exit(int(ExitStatus.GATE_BROKEN if broken else ExitStatus.OK))


def _parameters(texts: list[str]) -> dict[str, dict[str, Any]]:
    """What `--set NAME.KEY=VALUE` says; a value that is no TOML is text."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, key = path.strip().rpartition(".")
        if not (equals and dot and name and key):
            raise UsageError(
                f"--set {text} cannot be read.",
                expected="NAME.KEY=VALUE, such as my-attack.steps=10",
                remedy="name the attack, check or data adapter, and its parameter",
            )
        try:
            parsed = tomllib.loads(f"value = {value}")
        except tomllib.TOMLDecodeError:
            parsed = {"value": value.strip()}
        found.setdefault(name, {})[key] = parsed["value"]
    return found


plugin.command("new")(reporting_errors(new))
plugin.command("check")(reporting_errors(check))
