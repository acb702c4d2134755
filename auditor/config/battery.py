"""Resolves what is run against the models: attacks, from the file or the profile, and checks."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from auditor.config.context import Context
from auditor.config.model import AttackConfig
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.config.schema import UseTable
from auditor.errors import LoadError


def resolve_attacks(
    context: Context, tables: Sequence[UseTable | None], norms: Sequence[str]
) -> list[AttackConfig]:
    """[[attack]], as far as they have no faults.

    Args:
        norms: the threats' norms; an attack has to know one of them.
    """
    attacks = []
    labels: set[str] = set()
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = ("attack", index)
        _check_label(context, path, table, labels)
        spec = context.registry.attacks.get(table.use)
        if spec is None:
            context.unknown((*path, "use"), "attack", table.use, context.registry.attacks)
            continue
        if norms and not spec.norms.intersection(norms):
            context.problems.add(
                (*path, "use"),
                f'The attack "{spec.name}" knows no norm of the threats ({", ".join(norms)}).',
                expected=f"a [[threat]] with norm = {' or '.join(map(shown, sorted(spec.norms)))}",
                remedy="add such a threat, or remove this attack",
            )
        given = dict(table.model_extra or {})
        parameters = context.parameters(path, spec, given, f'The attack "{spec.name}"')
        if parameters is not None:
            attacks.append(AttackConfig(table.use, table.label or table.use, parameters))
    return attacks


def _check_label(context: Context, path: KeyPath, table: UseTable, labels: set[str]) -> None:
    """Labels name the rows of the report, so each may be there once."""
    label = table.label or table.use
    if label in labels:
        context.problems.add(
            (*path, "label" if table.label else "use"),
            f'Two attacks have the label "{label}".',
            expected="a label of its own for every [[attack]]; without one it is `use`",
            remedy=f'write label = "{label}-2" or the like',
        )
    labels.add(label)


def profile_attacks(context: Context, profile: str) -> tuple[list[AttackConfig], list[str]]:
    """The battery of a profile, and the labels of what [plugins] disable leaves out of it."""
    known = context.registry.profiles
    if profile not in known:
        context.unknown(("profile",), "profile", profile, known)
        return [], []
    attacks, left_out = [], []
    for entry in known[profile].attacks:
        try:
            table = UseTable.model_validate(entry)
        except ValidationError as error:
            context.problems.add(
                ("profile",),
                f'The profile "{profile}" is broken: {error.errors()[0]["msg"]} in {shown(entry)}.',
                expected="another profile, or a version of its plugin that is right",
                kind=LoadError,
            )
            continue
        label = table.label or table.use
        spec = context.registry.attacks.get(table.use)
        if spec is not None:
            heading = f'The attack "{label}" of the profile "{profile}"'
            given = dict(table.model_extra or {})
            parameters = context.parameters(("profile",), spec, given, heading)
            if parameters is not None:
                attacks.append(AttackConfig(table.use, label, parameters, from_profile=True))
        elif _may_be_disabled(context, table.use):
            left_out.append(label)
        else:
            context.unknown(("profile",), "attack", table.use, context.registry.attacks)
    return attacks, left_out


def _may_be_disabled(context: Context, use: str) -> bool:
    """Whether `disable` is why there is no such attack.

    What a plugin that is disabled as a whole would have offered is not known.
    """
    registry = context.registry
    whole = any(plugin.status == "blocked" for plugin in registry.plugins)
    return use in registry.blocked or (whole and not registry.broken)


def refuse_checks(context: Context, tables: Sequence[UseTable | None]) -> None:
    """[[check]]: this version has none to offer."""
    for index, table in enumerate(tables):
        if table is not None:
            context.problems.add(
                ("check", index, "use"),
                f'No check called "{table.use}" is installed.',
                expected="no [[check]]: none are installed",
                remedy="remove this [[check]]",
            )
