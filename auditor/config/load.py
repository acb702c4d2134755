"""From audit.toml to an `AuditConfig`: everything that is wrong is said at once, nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditor.config.battery import resolve_attacks, resolve_checks
from auditor.config.context import Context, neighbour
from auditor.config.gates import resolve_gates
from auditor.config.models import resolve_models
from auditor.config.positions import KeyPath
from auditor.config.problems import Problems, listed, shown
from auditor.config.source import ConfigSource, read_source
from auditor.config.subjects import check_run, check_threats, resolve_data
from auditor.config.tables import Tables, read_tables
from auditor.config.tracks import resolve_tracks
from auditor.errors import LoadError, UsageError, did_you_mean
from auditor.registry import Registry, load_registry
from auditor.registry.plugin_sources import is_file
from auditor.report import FORMATS
from auditor.schema.audit import AuditConfig, HeadTable
from auditor.schema.tables import PluginsConfig, ReportConfig, RunConfig

SCHEMA = 1


def load_config(
    path: Path, overrides: Sequence[str] = (), named: Sequence[str] = ()
) -> tuple[AuditConfig, Registry]:
    """Read, check and resolve a configuration; plugins are loaded, models and data are not.

    Args:
        path: the audit.toml.
        overrides: `dotted.key=value` texts that go before what the file says.
        named: files and modules of plugins to load beside those of the file; files are relative to
            the working directory.

    Raises:
        ConfigError: all its faults; it is a LoadError as well if plugins are the only ones.
    """
    return resolve_source(read_source(path, overrides, named))


def resolve_source(source: ConfigSource) -> tuple[AuditConfig, Registry]:
    """The same for a configuration that has been read, or is not a file yet.

    Raises:
        ConfigError: as above.
    """
    problems = Problems(source)
    check_schema(problems)
    tables = read_tables(problems)
    plugins = tables.plugins or PluginsConfig()
    directory = problems.source.path.parent
    paths = tuple(
        (directory / text).absolute() if is_file(text) else text for text in plugins.paths
    )
    registry = load_registry(paths, plugins.disable)
    context = Context(directory, registry, problems, tables.plugins is not None)
    _check_plugins(context, plugins)
    config = _resolve(context, tables, plugins)
    problems.raise_if_any()
    assert config is not None, "a table is missing, and nothing was said about it"
    return config, registry


def check_schema(problems: Problems) -> None:
    """Note what is wrong with the schema; under another, keys may mean something else.

    Raises:
        ConfigError: it is another, and nothing more can be said.
    """
    given = problems.source.data.get("schema")
    if given == SCHEMA and isinstance(given, int) and not isinstance(given, bool):
        return
    if given is None:
        problems.add(
            (),
            "The file does not say which schema it is written in.",
            expected=f"schema = {SCHEMA} as the first line",
            remedy="write it above all tables: a key below [table] belongs to the table",
        )
        return
    newer = isinstance(given, int) and given > SCHEMA
    problems.add(
        ("schema",),
        f"The schema {shown(given)} is not known to this version.",
        expected=f"schema = {SCHEMA}",
        remedy="use a newer version of auditor" if newer else "",
    )
    problems.raise_if_any()


def _check_plugins(context: Context, plugins: PluginsConfig) -> None:
    """What was named has to be there, and has to load."""
    registry, problems = context.registry, context.problems
    # The registry records one plugin per path, after all others, in their order.
    records = registry.plugins[len(registry.plugins) - len(plugins.paths) :]
    for index, (text, record) in enumerate(zip(plugins.paths, records, strict=True)):
        if record.status != "broken":
            continue
        path: KeyPath = ("plugins", "paths", index)
        option = problems.source.override_of(path)
        without = f"leave {option} out" if option else f"take {shown(text)} out of [plugins] paths"
        missing = is_file(text) and not (context.directory / text).is_file()
        problems.add(
            path,
            f"There is no plugin file {shown(text)}."
            if missing
            else f'The plugin "{record.name}" is broken: {record.detail}.',
            expected="a Python file with hooks marked @hookimpl, relative to audit.toml"
            if is_file(text)
            else "a module with hooks marked @hookimpl that can be imported",
            remedy=neighbour(context.directory / text)
            if missing
            else f"{record.remedy}; or {without}",
            kind=LoadError,
        )
    offered = {name for _, name in registry.origins}
    known = sorted(offered.union(record.name for record in registry.plugins))
    for index, name in enumerate(plugins.disable):
        if name not in registry.blocked:
            problems.add(
                ("plugins", "disable", index),
                f'There is no plugin, attack, check, data adapter or profile called "{name}".',
                expected=listed(known),
                remedy=did_you_mean(name, known) or "remove it",
            )


def _resolve(context: Context, tables: Tables, plugins: PluginsConfig) -> AuditConfig | None:
    """Every table as far as it has no faults; None if one that is needed has."""
    head = tables.head or HeadTable()
    run = tables.run or RunConfig()
    check_run(context, run)
    models = resolve_models(context, tables.models)
    data = resolve_data(context, tables.data) if tables.data else None
    threats = check_threats(context, tables.threats)
    # With a faulty model or threat, what its name would have been is unknown: no complaints then.
    all_models = models if len(models) == len(tables.models) else []
    all_threats = threats if len(threats) == len(tables.threats) else []
    norms = list(dict.fromkeys(threat.norm for threat in all_threats))
    attacks, left_out = resolve_attacks(context, head, tables.attacks, norms)
    checks = resolve_checks(context, head, tables.checks)
    offered = context.registry.checks
    measured = {check.use: offered[check.use].measures for check in checks}
    gates = resolve_gates(context, tables.gates, all_models, all_threats, measured)
    report = tables.report or ReportConfig()
    _check_report(context, report)
    tracks = resolve_tracks(context, tables.tracks)
    if data is None or not models:
        return None
    return AuditConfig.model_construct(  # of tables that are sound
        schema_version=SCHEMA,
        title=head.title or models[0].name,
        profile=head.profile,
        battery=head.battery,
        run=run,
        models=tuple(models),
        data=data,
        threats=tuple(threats),
        attacks=tuple(attacks),
        checks=tuple(checks),
        gates=tuple(gates),
        report=report,
        tracks=tuple(tracks),
        plugins=plugins,
        path=context.problems.source.path,
        left_out=tuple(left_out),
        extends=head.battery == "extend" and bool(tables.attacks or tables.checks),
    )


def _check_report(context: Context, table: ReportConfig) -> None:
    if "formats" not in table.model_fields_set:
        return
    known = [*FORMATS, *context.registry.reports]
    for index, name in enumerate(table.formats):
        path = ("report", "formats", index)
        if name not in known:
            unknown = unknown_format(name, known)
            context.problems.add(
                path, unknown.what, expected=unknown.expected, remedy=unknown.remedy
            )
        elif name in table.formats[:index]:
            context.problems.add(
                path,
                f'The format "{name}" is there twice.',
                expected="each format once",
                remedy="remove one of them",
            )


def unknown_format(name: str, known: Sequence[str], where: str = "") -> UsageError:
    """What is said of a report format that nobody offers."""
    return UsageError(
        f'The report format "{name}" is not available in this version.',
        where=where,
        expected=listed(known),
        remedy=did_you_mean(name, known),
    )
