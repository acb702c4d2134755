"""Writes the reference pages from the code when MkDocs builds the documentation.

They are not files of the repository: what a key, an attack or a check is said to do is what its
docstring, its type and its default say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from auditor.config.expected import expected, fields_of
from auditor.config.problems import shown
from auditor.parameters import Parameter, Spec
from auditor.protocols.attack import AttackSpec
from auditor.protocols.check import CheckSpec
from auditor.registry import Registry, load_registry
from auditor.schema.audit import ARRAYS, TABLES, HeadTable
from auditor.schema.tables import NormalizeConfig, Table


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs' hook: add the generated pages."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """The generated pages as Markdown, by file name."""
    registry = load_registry()
    return {
        "configuration.md": "\n".join(_configuration(registry)),
        "attacks.md": "\n".join(_attacks(registry)),
        "checks.md": "\n".join(_checks(registry)),
        "profiles.md": "\n".join(_profiles(registry)),
    }


def _configuration(registry: Registry) -> Iterator[str]:
    yield "# audit.toml"
    yield ""
    yield (
        "Schema 1. Every key, what it may be, and what it is where it is left out. Unknown keys, "
        "wrong types and impossible values are told all at once by `auditor validate`, each with "
        "its line. Paths are relative to the file. `auditor schema config` prints the JSON Schema."
    )
    yield from _keys("Before the first table", HeadTable)
    for name, table in TABLES.items():
        heading = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
        yield from _keys(f"`{heading}`", table)
        if name == "model":
            yield from _keys("`normalize` in `[[model]]`", NormalizeConfig, level=3)
            for spec in registry.models.values():
                yield from _spec(spec, f'loader = "{spec.name}"', level=3)
        if name == "data":
            for spec in registry.data.values():
                yield from _spec(spec, f'adapter = "{spec.name}"', level=3)
        if name == "track":
            for spec in registry.trackers.values():
                yield from _spec(spec, f'use = "{spec.name}"', level=3)


def _keys(title: str, table: type[Table], level: int = 2) -> Iterator[str]:
    yield ""
    yield f"{'#' * level} {title}"
    yield ""
    yield from _rows(
        ("key", "value", "default", "meaning"),
        (
            (
                f"`{field.alias or name}`",
                expected(hint),
                "(required)" if field.is_required() else _default(field.get_default(
                    call_default_factory=True)),
                field.description or "",
            )
            for name, hint in fields_of(table).items()
            for field in [table.model_fields[name]]
        ),
    )  # fmt: skip


def _attacks(registry: Registry) -> Iterator[str]:
    yield "# Attacks"
    yield ""
    yield "What `use = ` in `[[attack]]` can name. `auditor show NAME` says the same in a terminal."
    for spec in registry.attacks.values():
        yield from _spec(spec, spec.name)


def _checks(registry: Registry) -> Iterator[str]:
    yield "# Checks"
    yield ""
    yield (
        "What `use = ` in `[[check]]` can name. They run after the attacks, in the order in which "
        "they are written, and each sees what those before it found."
    )
    for spec in registry.checks.values():
        yield from _spec(spec, spec.name)


def _spec(spec: Spec, title: str, level: int = 2) -> Iterator[str]:
    yield ""
    yield f"{'#' * level} `{title}`"
    yield ""
    yield spec.doc
    yield ""
    if isinstance(spec, AttackSpec):
        yield f"* norms: {', '.join(sorted(spec.norms))}"
        yield f"* needs: {spec.needs}"
    if isinstance(spec, CheckSpec) and spec.measures:
        yield f"* measures: {', '.join(spec.measures)}"
    if spec.reference:
        yield f"* reference: {spec.reference}"
        yield ""
    hints = fields_of(spec.cls)
    if spec.parameters:
        yield ""
        yield from _rows(
            ("parameter", "value", "default", "meaning"),
            (
                (f"`{one.name}`", expected(hints[one.name]), _of(one), one.doc)
                for one in spec.parameters
            ),
        )


def _profiles(registry: Registry) -> Iterator[str]:
    yield "# Profiles"
    yield ""
    yield (
        "What runs when audit.toml names no `[[attack]]`, or no `[[check]]`. A profile is fixed: "
        'whoever says `profile = "standard"` gets the same battery until its version changes.'
    )
    for profile in registry.profiles.values():
        yield f"\n## `{profile.name}`, version {profile.version}\n\n```toml"
        for heading, entries in (("attack", profile.attacks), ("check", profile.checks)):
            for entry in entries:
                yield f"[[{heading}]]"
                yield from (f"{key} = {shown(value)}" for key, value in entry.items())
        yield "```"


def _rows(header: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _default(value: Any) -> str:
    if value is None:
        return ""
    return "" if isinstance(value, Table) or value == {} else f"`{shown(value)}`"


def _of(parameter: Parameter) -> str:
    return "(required)" if parameter.required else _default(parameter.default)
