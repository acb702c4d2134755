"""`auditor show` and `auditor schema`: how what is available is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from auditor.cli.console import PlainConsole, say
from auditor.cli.listing import offered, summary
from auditor.cli.options import PluginOption, registry_with
from auditor.config.expected import expected, fields_of
from auditor.config.problems import shown
from auditor.errors import UsageError, did_you_mean
from auditor.parameters import Parameter, Spec
from auditor.printable import hanging
from auditor.protocols.attack import AttackSpec
from auditor.protocols.check import CheckSpec
from auditor.protocols.hookspecs import Profile
from auditor.registry import Registry
from auditor.registry.hooks import WORDS
from auditor.results import PluginRecord


class Schema(StrEnum):
    """The formats that have a JSON Schema."""

    CONFIG = "config"
    RESULT = "result"
    COMPARE = "compare"


def show(
    name: Annotated[
        str, typer.Argument(help="What `auditor list` names: an attack, a check, a profile ...")
    ],
    plugins: PluginOption = None,
) -> None:
    """Describe an attack, a check, a profile, or whatever else plugins offer."""
    registry = registry_with(plugins)
    found = list(_shown(registry, name))
    if not found:
        offers = {key for kind in WORDS for key in offered(registry, kind)}
        known = sorted({*offers, *(record.name for record in registry.plugins)})
        raise UsageError(
            f'There is nothing called "{name}".',
            where="auditor show",
            expected=f"the name of an {', '.join(WORDS.values())} or plugin",
            remedy=did_you_mean(name, known) or "see them with: auditor list attacks",
        )
    for print_it in found:
        print_it()


def schema(which: Annotated[Schema, typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of audit.toml, audit.json or compare.json."""
    if which is Schema.CONFIG:
        from auditor.schema.audit import json_schema
    elif which is Schema.COMPARE:
        from auditor.comparison.result import json_schema
    else:
        from auditor.results import json_schema
    say(json.dumps(json_schema(), indent=2))


#: What to write in audit.toml, by the registry's kind. Sections and sinks need no word there.
_SNIPPETS = {
    "attacks": '[[attack]]\nuse = "{name}"',
    "checks": '[[check]]\nuse = "{name}"',
    "data": '[data]\nadapter = "{name}"',
    "models": '[[model]]\nloader = "{name}"',
    "norms": '[[threat]]\nnorm = "{name}"\nepsilon = ...',
    "surrogates": '[[attack]]\nuse = "pgd"\nsurrogate = "{name}"',
    "reports": '[report]\nformats = ["{name}"]',
    "sections": '[plugins]\ndisable = ["{name}"]   # to leave it out',
    "trackers": '[[track]]\nuse = "{name}"',
    "sinks": '[plugins]\ndisable = ["{name}"]   # to leave it out',
}


def _shown(registry: Registry, name: str) -> Iterator[Callable[[], None]]:
    """What prints each thing of that name; a plugin where nothing it offers is called so."""
    found = {
        kind: offered(registry, kind)[name] for kind in WORDS if name in offered(registry, kind)
    }
    for kind, one in found.items():
        snippet = _SNIPPETS.get(kind, "").format(name=name)
        if isinstance(one, Profile):
            yield partial(_show_profile, one)
        elif isinstance(one, Spec):
            yield partial(_show_spec, one, WORDS[kind], snippet)
        else:
            doc = getattr(one, "doc", summary(one))
            yield partial(_show_said, name, WORDS[kind], doc, snippet)
    for record in registry.plugins:
        if record.name == name and not found:
            yield partial(_show_plugin, registry, record)


def _show_said(name: str, word: str, said: str, snippet: str) -> None:
    """What has no keys of its own."""
    say(f"{name} ({word})\n\n{said}\n")
    say(f"In audit.toml:\n\n{_indented(snippet)}" if snippet else f"auditor {name} --help")


def _show_plugin(registry: Registry, record: PluginRecord) -> None:
    say(f"{record.name} (plugin, {record.status})\n")
    say(f"origin:  {record.origin}\nversion: {record.version}")
    if record.detail:
        say(f"detail:  {hanging(record.detail)}")
    for kind, word in WORDS.items():
        names = [name for (one, name), plugin in registry.origins.items()
                 if (one, plugin) == (kind, record.name)]  # fmt: skip
        if names:
            say(f"{word}: {', '.join(names)}")


def _show_spec(spec: Spec, kind: str, snippet: str) -> None:
    say(f"{spec.name} ({kind})\n\n{spec.doc}\n")
    if isinstance(spec, AttackSpec):
        norms = f"{', '.join(sorted(spec.norms))}{' and others' if spec.any_norm else ''}"
        say(f"norms:     {norms}\nneeds:     {spec.needs}")
    if isinstance(spec, CheckSpec) and spec.measures:
        say(f"measures:  {', '.join(spec.measures)}")
    if spec.reference:
        say(f"reference: {spec.reference}\n")
    hints = fields_of(spec.cls)
    if spec.parameters:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("parameter", "value", "default", "meaning"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "parameter")
        for one in spec.parameters:
            table.add_row(one.name, expected(hints[one.name]), _default(one), one.doc)
        PlainConsole().print(table)
        say()
    lines = [_example(parameter, expected(hints[parameter.name])) for parameter in spec.parameters]
    say("In audit.toml:\n")
    say(_indented("\n".join([snippet, *lines])))


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "(required)"
    return "(none)" if parameter.default is None else shown(parameter.default)


def _example(parameter: Parameter, value: str) -> str:
    """The key as a line of TOML: with its default, or as a comment where it has none."""
    if parameter.required or parameter.default is None:
        need = "required" if parameter.required else "optional"
        return f"# {parameter.name} = ...  ({value}; {need})"
    return f"{parameter.name} = {shown(parameter.default)}"


def _show_profile(profile: Profile) -> None:
    say(f"{profile.name} (profile, version {profile.version})\n")
    say("What runs when audit.toml names no [[attack]], or no [[check]]. Written out:\n")
    for heading, entries in (("[[attack]]", profile.attacks), ("[[check]]", profile.checks)):
        for entry in entries:
            lines = [f"{key} = {shown(value)}" for key, value in entry.items()]
            say(_indented("\n".join([heading, *lines])) + "\n")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
