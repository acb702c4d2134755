"""`auditor list`, `auditor show` and `auditor schema`: what is available, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from auditor.cli.console import PlainConsole, say
from auditor.cli.options import PluginOption, registry_with
from auditor.config.expected import expected, fields_of
from auditor.config.problems import listed, shown
from auditor.errors import UsageError, did_you_mean
from auditor.maths.norms import summary_of
from auditor.parameters import Parameter, Spec
from auditor.protocols.attack import AttackSpec
from auditor.protocols.hookspecs import Profile
from auditor.registry import Registry
from auditor.report import FORMATS

_Rows = list[dict[str, Any]]


class Kind(StrEnum):
    """What `auditor list` can list."""

    ATTACKS = "attacks"
    CHECKS = "checks"
    DATA = "data"
    MODELS = "models"
    NORMS = "norms"
    PLUGINS = "plugins"
    PROFILES = "profiles"
    REPORTS = "reports"
    SURROGATES = "surrogates"


class Schema(StrEnum):
    """The formats that have a JSON Schema."""

    CONFIG = "config"
    RESULT = "result"


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    plugins: PluginOption = None,
) -> None:
    """List what is available. Installed plugins and those of -p are imported for it."""
    rows = _ROWS[kind](registry_with(plugins))
    if json_:
        say(json.dumps(rows, indent=2))
    elif rows:
        # What to do about broken plugins is said in whole sentences, on standard error.
        _print_table([{name: row[name] for name in row if name != "remedy"} for row in rows])
    else:
        say(f"No {kind.value} are installed.")


def show(
    name: Annotated[
        str, typer.Argument(help="An attack, check, data adapter, model loader or profile.")
    ],
    plugins: PluginOption = None,
) -> None:
    """Describe an attack, a check, a data adapter, a model loader or a profile."""
    registry = registry_with(plugins)
    found = list(_shown(registry, name))
    if not found:
        tables = (registry.attacks, registry.checks, registry.data, registry.models,
                  registry.profiles)  # fmt: skip
        known = sorted({key for table in tables for key in table})
        raise UsageError(
            f'There is no attack, check, data adapter, model loader or profile called "{name}".',
            expected=listed(known),
            remedy=did_you_mean(name, known) or "see them with: auditor list attacks",
        )
    for print_it in found:
        print_it()


def schema(which: Annotated[Schema, typer.Argument(help="Which format.")]) -> None:
    """Print the JSON Schema of audit.toml or audit.json."""
    if which is Schema.CONFIG:
        from auditor.schema.audit import json_schema
    else:
        from auditor.results import json_schema
    say(json.dumps(json_schema(), indent=2))


def _attack_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": spec.name,
            "norms": [name for name in sorted(registry.norms) if spec.knows(name)],
            "needs": spec.needs,
            "summary": spec.summary,
            "reference": spec.reference,
            "plugin": registry.origins["attacks", spec.name],
        }
        for spec in registry.attacks.values()
    ]


def _check_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "reference": spec.reference,
            "plugin": registry.origins["checks", spec.name],
        }
        for spec in registry.checks.values()
    ]


def _data_rows(registry: Registry) -> _Rows:
    return [
        {"name": spec.name, "summary": spec.summary, "plugin": registry.origins["data", spec.name]}
        for spec in registry.data.values()
    ]


def _model_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": spec.name,
            "summary": spec.summary,
            "plugin": registry.origins["models", spec.name],
        }
        for spec in registry.models.values()
    ]


def _norm_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": norm.name,
            "summary": summary_of(norm),
            "plugin": registry.origins.get(("norms", norm.name), ""),
        }
        for norm in registry.norms.values()
    ]


def _plugin_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": record.name,
            "status": record.status,
            "origin": record.origin,
            "version": record.version,
            "detail": record.detail,
            "remedy": record.remedy,
        }
        for record in registry.plugins
    ]


def _profile_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": profile.name,
            "version": profile.version,
            "attacks": [entry.get("label", entry["use"]) for entry in profile.attacks],
            "checks": [entry.get("label", entry["use"]) for entry in profile.checks],
        }
        for profile in registry.profiles.values()
    ]


def _report_rows(registry: Registry) -> _Rows:
    built_in = [
        {"name": name, "summary": (writer.__doc__ or "").split("\n", 1)[0], "plugin": ""}
        for name, writer in FORMATS.items()
    ]
    return built_in + [
        {"name": one.name, "summary": one.summary, "plugin": registry.origins["reports", one.name]}
        for one in registry.reports.values()
    ]


def _surrogate_rows(registry: Registry) -> _Rows:
    return [
        {
            "name": one.name,
            "summary": one.summary,
            "plugin": registry.origins["surrogates", one.name],
        }
        for one in registry.surrogates.values()
    ]


_ROWS: dict[Kind, Callable[[Registry], _Rows]] = {
    Kind.ATTACKS: _attack_rows,
    Kind.CHECKS: _check_rows,
    Kind.DATA: _data_rows,
    Kind.MODELS: _model_rows,
    Kind.NORMS: _norm_rows,
    Kind.PLUGINS: _plugin_rows,
    Kind.PROFILES: _profile_rows,
    Kind.REPORTS: _report_rows,
    Kind.SURROGATES: _surrogate_rows,
}


def _print_table(rows: _Rows) -> None:
    """A row per thing; columns that are empty for all are left out."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == "name")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    PlainConsole().print(table)


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _shown(registry: Registry, name: str) -> Iterator[Callable[[], None]]:
    """What prints each thing of that name."""
    if name in registry.attacks:
        yield lambda: _show_spec(registry.attacks[name], "attack", f'[[attack]]\nuse = "{name}"')
    if name in registry.checks:
        yield lambda: _show_spec(registry.checks[name], "check", f'[[check]]\nuse = "{name}"')
    if name in registry.data:
        yield lambda: _show_spec(registry.data[name], "data adapter", f'[data]\nadapter = "{name}"')
    if name in registry.models:
        yield lambda: _show_spec(
            registry.models[name], "model loader", f'[[model]]\nloader = "{name}"'
        )
    if name in registry.profiles:
        yield lambda: _show_profile(registry.profiles[name])
    if name in registry.surrogates:
        yield lambda: _show_said(name, "surrogate", registry.surrogates[name].summary,
                                 f'[[attack]]\nuse = "pgd"\nsurrogate = "{name}"')  # fmt: skip
    if name in registry.norms:
        yield lambda: _show_said(name, "norm", summary_of(registry.norms[name]),
                                 f'[[threat]]\nnorm = "{name}"\nepsilon = ...')  # fmt: skip
    if name in registry.reports:
        yield lambda: _show_said(name, "report format", registry.reports[name].summary,
                                 f'[report]\nformats = ["{name}"]')  # fmt: skip


def _show_said(name: str, kind: str, summary: str, snippet: str) -> None:
    """What has no keys of its own."""
    say(f"{name} ({kind})\n\n{summary}\n\nIn audit.toml:\n")
    say("\n".join(f"    {line}" for line in snippet.splitlines()))


def _show_spec(spec: Spec, kind: str, snippet: str) -> None:
    say(f"{spec.name} ({kind})\n\n{spec.doc}\n")
    if isinstance(spec, AttackSpec):
        norms = f"{', '.join(sorted(spec.norms))}{' and others' if spec.any_norm else ''}"
        say(f"norms:     {norms}\nneeds:     {spec.needs}")
    if spec.reference:
        say(f"reference: {spec.reference}\n")
    hints = fields_of(spec.cls)
    rows = [
        {
            "parameter": parameter.name,
            "value": expected(hints[parameter.name]),
            "default": _default(parameter),
            "meaning": parameter.doc,
        }
        for parameter in spec.parameters
    ]
    if rows:
        _print_table(rows)
        say()
    lines = [_example(parameter, rows[i]["value"]) for i, parameter in enumerate(spec.parameters)]
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
