"""What of an audit.toml may change after the audit: gates, title, rationales and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from auditor.config.context import Context
from auditor.config.gates import resolve_gates
from auditor.config.load import check_schema
from auditor.config.problems import Problems
from auditor.config.source import ConfigSource
from auditor.config.tables import read_tables
from auditor.registry import load_registry
from auditor.results import AuditResult
from auditor.schema.audit import HeadTable
from auditor.schema.tables import GateConfig, ModelConfig, ReportConfig, ThreatConfig
from auditor.schema.values import Epsilon


@dataclass(frozen=True)
class Requirements:
    """What a finished audit is judged by, and how it is presented.

    Attributes:
        title: None where the file has none.
        rationales: by norm and epsilon, of the file's threats.
        unlike: how the file's models and threats differ from those that were audited, one sentence
            each.
    """

    gates: tuple[GateConfig, ...]
    title: str | None
    report: ReportConfig
    rationales: Mapping[tuple[str, float], str]
    unlike: tuple[str, ...]


def read_requirements(source: ConfigSource, result: AuditResult) -> Requirements:
    """Those of a configuration, for the audit whose `result` this is; neither is run.

    What the file says of models, data and attacks is read and not resolved: the files that it names
    may have gone.

    Raises:
        ConfigError: the file has faults, or a gate is on something that was not audited.
    """
    problems = Problems(source)
    check_schema(problems)
    tables = read_tables(problems)
    models = [ModelConfig.model_construct(name=model.name) for model in result.models]
    audited = {
        (threat.norm, threat.epsilon): threat for model in result.models for threat in model.threats
    }
    threats = [
        ThreatConfig.model_construct(norm=norm, epsilon=[threat.epsilon_text])
        for (norm, _), threat in audited.items()
    ]
    context = Context(source.path.parent, load_registry(), problems)
    gates = resolve_gates(context, tables.gates, models, threats, _measured(result, context))
    problems.raise_if_any()
    asked = {
        (threat.norm, size.value): (threat, size)
        for threat in tables.threats
        if threat is not None
        for size in threat.epsilons
    }
    return Requirements(
        gates=tuple(gates),
        title=(tables.head or HeadTable()).title,
        report=tables.report or ReportConfig(),
        rationales={key: threat.rationale for key, (threat, _) in asked.items()},
        unlike=(
            *_unlike("model", {one.name for one in tables.models if one and one.name},
                     {one.name for one in models}),
            *_unlike("threat", {_name(norm, size) for (norm, _), (_, size) in asked.items()},
                     {_name(one.norm, one.epsilons[0]) for one in threats}),
        ),
    )  # fmt: skip


def _measured(result: AuditResult, context: Context) -> dict[str, list[str]]:
    """What the checks that were to run can measure, and what else was measured."""
    offered = context.registry.checks
    named = {check.name for model in result.models for check in model.checks}
    able = {name: list(offered[name].measures) for name in offered if name in named}
    known = {one for names in able.values() for one in names}
    found = {one.name: None for model in result.models for one in model.measurements}
    return {**able, "others": [name for name in found if name not in known]}


def _name(norm: str, size: Epsilon) -> str:
    return f"{norm} {size.value:g}"


def _unlike(kind: str, named: set[str], audited: set[str]) -> list[str]:
    """What only one of the two has."""
    said = []
    if more := sorted(named - audited):
        said.append(f"the file has the {kind} {', '.join(more)}, which was not audited")
    if named and (less := sorted(audited - named)):
        said.append(f"the {kind} {', '.join(less)} was audited and is not in the file")
    return said
