"""Resolves what is run against the models: attacks, from the file or the profile, and checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from auditor.config.context import Context
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.errors import LoadError
from auditor.schema.audit import HeadTable
from auditor.schema.tables import AttackConfig, CheckConfig

_C = TypeVar("_C", bound=CheckConfig)


def resolve_attacks(
    context: Context,
    head: HeadTable,
    tables: Sequence[AttackConfig | None] | None,
    norms: Sequence[str],
) -> tuple[list[AttackConfig], list[str]]:
    """The attacks, as far as they have no faults, and what [plugins] disable leaves out of them.

    Args:
        tables: [[attack]]; None where the file has no word of it.
        norms: the threats' norms; an attack has to know one of them.
    """
    for index, table in enumerate(tables or ()):
        spec = context.registry.attacks.get(table.use) if table else None
        if spec is not None and norms and not any(map(spec.knows, norms)):
            context.problems.add(
                ("attack", index, "use"),
                f'The attack "{spec.name}" knows no norm of the threats ({", ".join(norms)}).',
                expected=f"a [[threat]] with norm = {' or '.join(map(shown, sorted(spec.norms)))}",
                remedy="add such a threat, or remove this attack",
            )
    known, written = context.registry.profiles, "profile" in head.model_fields_set
    if head.profile not in known and (written or _asks_for_profile(head, tables)):
        context.unknown(("profile",), "profile", head.profile, known)
    found, left_out, added = _resolve(context, AttackConfig, head, tables)
    return found + added, left_out


def resolve_checks(
    context: Context, head: HeadTable, tables: Sequence[CheckConfig | None] | None
) -> list[CheckConfig]:
    """Likewise the checks; those that only explain what others found remain the last."""
    found, _, added = _resolve(context, CheckConfig, head, tables)
    place = len(found)
    while place and context.registry.checks[found[place - 1].use].doubts == "no model":
        place -= 1
    return [*found[:place], *added, *found[place:]]


def _asks_for_profile(head: HeadTable, tables: Sequence[CheckConfig | None] | None) -> bool:
    return tables is None or head.battery == "extend"


def _resolve(
    context: Context,
    kind: type[_C],
    head: HeadTable,
    tables: Sequence[_C | None] | None,
) -> tuple[list[_C], list[str], list[_C]]:
    """The profile's and what was left out of it, and the file's own.

    A table with the label of one of the profile's (the label being `use` where none is given)
    changes that one: what it says of the parameters goes before what the profile says.
    """
    profile = context.registry.profiles.get(head.profile)
    base: list[_C] = []
    left_out: list[str] = []
    if profile is not None and _asks_for_profile(head, tables):
        entries = getattr(profile, f"{kind.word}s")
        base, left_out = _of_profile(context, kind, head.profile, entries)
    listed = _listed(context, kind, tables or (), {one.label: one for one in base})
    changed = {one.label: one for one in listed if one.from_profile}
    own = [one for one in listed if not one.from_profile]
    return [changed.get(one.label, one) for one in base], left_out, own


def _available(context: Context, kind: type[CheckConfig]) -> dict[str, Any]:
    """Those that are installed, by name."""
    found: dict[str, Any] = getattr(context.registry, f"{kind.word}s")
    return found


def _listed(
    context: Context, kind: type[_C], tables: Sequence[_C | None], base: Mapping[str, _C]
) -> list[_C]:
    """The file's tables; those that change one of `base`, by label, count as the profile's."""
    found = []
    labels: set[str] = set()
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = (kind.word, index)
        _check_label(context, path, table, labels)
        _check_surrogate(context, (*path, "surrogate"), table)
        spec = _available(context, kind).get(table.use)
        if spec is None:
            context.unknown((*path, "use"), kind.word, table.use, _available(context, kind))
            continue
        changed = base.get(table.label or table.use)
        if changed is not None and changed.use != table.use:
            _clash(context, (*path, "label"), table, changed)
            continue
        given = {**(changed.written if changed else {}), **table.written}
        own = context.parameters(path, spec, given, f'The {kind.word} "{spec.name}"')
        if own is not None:
            found.append(table.resolved(own, changed))
    return found


def _clash(context: Context, path: KeyPath, table: CheckConfig, other: CheckConfig) -> None:
    word = table.word
    context.problems.add(
        path,
        f'The label "{other.label}" is that of the profile\'s {word} "{other.use}", and this is '
        f'"{table.use}".',
        expected=f"a label of its own, or the label of one of the profile's {word}s with the same "
        "`use`, to change its parameters",
        remedy=f'write label = "{other.label}-2" or the like',
    )


def _check_label(context: Context, path: KeyPath, table: CheckConfig, labels: set[str]) -> None:
    """Labels name the rows of the report, so each may be there once."""
    label, word = table.label or table.use, table.word
    if label in labels:
        context.problems.add(
            (*path, "label" if table.label else "use"),
            f'Two {word}s have the label "{label}".',
            expected=f"a label of its own for every [[{word}]]; without one it is `use`",
            remedy=f'write label = "{label}-2" or the like',
        )
    elif word == "attack" and label.startswith("check "):
        context.problems.add(
            (*path, "label"),
            f"`label` cannot be {shown(label)}: what checks break is kept under such names.",
            expected='a label that does not begin with "check "',
        )
    labels.add(label)


def _check_surrogate(context: Context, path: KeyPath, table: CheckConfig) -> None:
    known = context.registry.surrogates
    name = table.surrogate if isinstance(table, AttackConfig) else None
    if name is not None and name not in known:
        context.unknown(path, "surrogate", name, known)


def _of_profile(
    context: Context, kind: type[_C], profile: str, entries: Sequence[dict[str, Any]]
) -> tuple[list[_C], list[str]]:
    found, left_out = [], []
    for entry in entries:
        try:
            table = kind.model_validate(entry)
        except ValidationError as error:
            context.problems.add(
                ("profile",),
                f'The profile "{profile}" is broken: {error.errors()[0]["msg"]} in {shown(entry)}.',
                expected="another profile, or a version of its plugin that is right",
                kind=LoadError,
            )
            continue
        label = table.label or table.use
        _check_surrogate(context, ("profile",), table)
        spec = _available(context, kind).get(table.use)
        if spec is not None:
            heading = f'The {kind.word} "{label}" of the profile "{profile}"'
            own = context.parameters(("profile",), spec, table.written, heading)
            if own is not None:
                found.append(table.resolved(own, table))
        elif _may_be_disabled(context, table.use):
            left_out.append(label)
        else:
            context.unknown(("profile",), kind.word, table.use, _available(context, kind))
    return found, left_out


def _may_be_disabled(context: Context, use: str) -> bool:
    """Whether `disable` is why there is no such attack.

    What a plugin that is disabled as a whole would have offered is not known.
    """
    registry = context.registry
    whole = any(plugin.status == "blocked" for plugin in registry.plugins)
    return use in registry.blocked or (whole and not registry.broken)
