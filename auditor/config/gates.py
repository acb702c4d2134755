"""Resolves [[gate]], the conditions that an audit passes or fails by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import get_args

from auditor.config.context import Context
from auditor.config.positions import KeyPath
from auditor.config.problems import listed, shown
from auditor.config.subjects import read_epsilon
from auditor.errors import did_you_mean
from auditor.schema.tables import GateConfig, ModelConfig, ThreatConfig
from auditor.schema.values import MaskingLimit, as_fraction

#: What can be gated, and which of the filters `norm` and `epsilon` it knows.
METRICS = {
    "robust_accuracy": ("norm", "epsilon"),
    "clean_accuracy": (),
    "masking": (),
}
#: What a result has a place for and nothing produces yet.
_CERTIFIED = "certified_accuracy"
_MASKING = "masking"
_IMPLIED_LIMIT = "possible"


def resolve_gates(
    context: Context,
    tables: Sequence[GateConfig | None],
    models: Sequence[ModelConfig],
    threats: Sequence[ThreatConfig],
    measured: Mapping[str, Sequence[str]],
) -> list[GateConfig]:
    """[[gate]], and the gate on masking that every audit has.

    Args:
        models: all models, or none where some are faulty and so unknown; likewise `threats`.
        measured: the measurements that each check of the audit makes.
    """
    gates = []
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = ("gate", index)
        _check_metric(context, path, table, measured)
        _check_limit(context, path, table)
        _check_names(context, path, table, models, threats)
        _check_epsilon(context, path, table, threats)
        _check_waiver(context, path, table)
        gates.append(table)
    return gates + _implied(gates, models)


def _implied(gates: Sequence[GateConfig], models: Sequence[ModelConfig]) -> list[GateConfig]:
    """A gate on masking for every model that no written one covers."""
    covered = {gate.model for gate in gates if gate.metric == _MASKING}
    if None in covered:
        return []
    names = [model.name for model in models if model.name not in covered] if covered else [None]
    return [
        GateConfig.model_construct(metric=_MASKING, at_most=_IMPLIED_LIMIT, model=name)
        for name in names
    ]


def _check_metric(
    context: Context, path: KeyPath, table: GateConfig, measured: Mapping[str, Sequence[str]]
) -> None:
    metric, known = table.metric, [*METRICS, *chain(*measured.values())]
    if metric not in known:
        able = [spec.name for spec in context.registry.checks.values() if metric in spec.measures]
        remedy = did_you_mean(metric, known)
        if metric == _CERTIFIED:
            remedy = "no certificates are computed in this version: gate robust_accuracy, an upper "
            remedy += "bound of it"
        elif able:
            remedy = f'add the check that does: battery = "extend" and [[check]] use = "{able[0]}"'
        context.problems.add(
            (*path, "metric"),
            f'Nothing measures "{metric}".',
            expected="\n".join([listed(METRICS), *_listed(measured)]),
            remedy=remedy,
        )
        return
    for name in ("norm", "epsilon"):
        if getattr(table, name) is not None and name not in METRICS.get(metric, ()):
            context.problems.add(
                (*path, name),
                f"`{metric}` is one value per model, so `{name}` cannot narrow it.",
                expected=f"a gate on {metric} without `{name}`",
                remedy=f"remove `{name}`",
            )


def _listed(measured: Mapping[str, Sequence[str]]) -> Iterator[str]:
    made = {check: names for check, names in measured.items() if names}
    if made:
        yield "or what a check of this audit measures:"
    for check, names in made.items():
        yield f"  {check}: {', '.join(names)}"


def _check_limit(context: Context, path: KeyPath, table: GateConfig) -> None:
    if (table.at_least is None) == (table.at_most is None):
        both = "both at_least and at_most" if table.at_least is not None else "no limit"
        context.problems.add(
            path,
            f"This gate has {both}.",
            expected="either at_least or at_most",
            remedy="write a [[gate]] for each" if table.at_least is not None else "",
        )
    elif table.metric == _MASKING and not isinstance(table.at_most, str):
        name = "at_least" if table.at_most is None else "at_most"
        context.problems.add(
            (*path, name),
            f"A gate on masking cannot have {name} = {shown(getattr(table, name))}.",
            expected=f"at_most = {listed(map(shown, get_args(MaskingLimit)))}",
        )
    elif table.metric != _MASKING and isinstance(table.at_most, str):
        context.problems.add(
            (*path, "at_most"),
            f"A gate on {table.metric} cannot have at_most = {shown(table.at_most)}.",
            expected="a number from 0 to 1" if table.metric in METRICS else "a number",
        )
    elif table.metric in METRICS and table.metric != _MASKING:
        name = "at_least" if table.at_most is None else "at_most"
        limit = getattr(table, name)
        if not 0 <= limit <= 1:
            context.problems.add(
                (*path, name),
                f"`{name}` cannot be {limit:g}.",
                expected="a number from 0 to 1",
                remedy=as_fraction(limit),
            )


def _check_waiver(context: Context, path: KeyPath, table: GateConfig) -> None:
    """A waiver is a day and a reason."""
    if table.until is not None and not (table.reason or "").strip():
        context.problems.add(
            (*path, "until"),
            "This waiver has no reason.",
            expected="until and reason together",
            remedy='add reason = "...": why the gate may be broken until then, and who said so',
        )
    elif table.reason is not None and table.until is None:
        context.problems.add(
            (*path, "reason"),
            "This gate has a reason, and no day until which it is waived.",
            expected="until and reason together",
            remedy="add until = 2027-03-31, or remove `reason`",
        )


def _check_names(
    context: Context,
    path: KeyPath,
    table: GateConfig,
    models: Sequence[ModelConfig],
    threats: Sequence[ThreatConfig],
) -> None:
    """A filter that matches nothing would be a gate that holds of nothing."""
    filters = (
        ("model", table.model, [model.name for model in models], "[[model]] has the name"),
        ("norm", table.norm, [threat.norm for threat in threats], "[[threat]] has the norm"),
    )
    for key, name, names, what in filters:
        known = list(dict.fromkeys(names))
        if name is not None and known and name not in known:
            context.problems.add(
                (*path, key),
                f'No {what} "{name}".',
                expected=listed(known),
                remedy=did_you_mean(name, known),
            )


def _check_epsilon(
    context: Context, path: KeyPath, table: GateConfig, threats: Sequence[ThreatConfig]
) -> None:
    if table.epsilon is None:
        return
    place = (*path, "epsilon")
    found = read_epsilon(context, place, table.epsilon, linf=False)
    audited = [(threat.norm, epsilon) for threat in threats for epsilon in threat.epsilons]
    matching: set[Fraction] = {
        epsilon.fraction for norm, epsilon in audited if table.norm in (None, norm)
    }
    if found is not None and matching and found.fraction not in matching:
        of_norm = f" of {table.norm}" if table.norm else ""
        context.problems.add(
            place,
            f"No [[threat]]{of_norm} has the epsilon {shown(table.epsilon)}.",
            expected=listed(
                f"{shown(epsilon.text)} ({norm})"
                for norm, epsilon in audited
                if table.norm in (None, norm)
            ),
        )
