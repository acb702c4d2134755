"""Resolves what is run against the models: attacks, from the file or the profile, and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from auditor.config.context import Context
from auditor.config.model import AttackConfig, CheckConfig
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.config.schema import AttackTable, UseTable
from auditor.errors import LoadError

_C = TypeVar("_C", AttackConfig, CheckConfig)


@dataclass(frozen=True)
class _Kind(Generic[_C]):
    """Attacks and checks: what differs in their resolution."""

    #: As users call one; the plural is the registry's field.
    word: str
    table: type[UseTable]
    make: Callable[[UseTable, dict[str, Any], bool], _C]

    def available(self, context: Context) -> dict[str, Any]:
        """Those that are installed, by name."""
        found: dict[str, Any] = getattr(context.registry, f"{self.word}s")
        return found


def _attack(table: UseTable, parameters: dict[str, Any], from_profile: bool) -> AttackConfig:
    surrogate = table.surrogate if isinstance(table, AttackTable) else None
    return AttackConfig(table.use, table.label or table.use, parameters, surrogate, from_profile)


def _check(table: UseTable, parameters: dict[str, Any], from_profile: bool) -> CheckConfig:
    return CheckConfig(table.use, table.label or table.use, parameters, from_profile)


_ATTACKS: _Kind[AttackConfig] = _Kind("attack", AttackTable, _attack)
_CHECKS: _Kind[CheckConfig] = _Kind("check", UseTable, _check)


def resolve_attacks(
    context: Context, tables: Sequence[AttackTable | None], norms: Sequence[str]
) -> list[AttackConfig]:
    """[[attack]], as far as they have no faults.

    Args:
        norms: the threats' norms; an attack has to know one of them.
    """
    for index, table in enumerate(tables):
        spec = context.registry.attacks.get(table.use) if table else None
        if spec is not None and norms and not any(map(spec.knows, norms)):
            context.problems.add(
                ("attack", index, "use"),
                f'The attack "{spec.name}" knows no norm of the threats ({", ".join(norms)}).',
                expected=f"a [[threat]] with norm = {' or '.join(map(shown, sorted(spec.norms)))}",
                remedy="add such a threat, or remove this attack",
            )
    return _resolve(context, _ATTACKS, tables)


def resolve_checks(context: Context, tables: Sequence[UseTable | None]) -> list[CheckConfig]:
    """[[check]], as far as they have no faults."""
    return _resolve(context, _CHECKS, tables)


def profile_attacks(context: Context, profile: str) -> tuple[list[AttackConfig], list[str]]:
    """The attacks of a profile, and the labels of what [plugins] disable leaves out of it."""
    known = context.registry.profiles
    if profile not in known:
        context.unknown(("profile",), "profile", profile, known)
        return [], []
    return _of_profile(context, _ATTACKS, profile, known[profile].attacks)


def profile_checks(context: Context, profile: str) -> tuple[list[CheckConfig], list[str]]:
    """Likewise its checks; an unknown profile is told where attacks are resolved."""
    known = context.registry.profiles
    if profile not in known:
        return [], []
    return _of_profile(context, _CHECKS, profile, known[profile].checks)


def _resolve(context: Context, kind: _Kind[_C], tables: Sequence[UseTable | None]) -> list[_C]:
    found = []
    labels: set[str] = set()
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = (kind.word, index)
        _check_label(context, path, table, labels, kind.word)
        _check_surrogate(context, (*path, "surrogate"), table)
        spec = kind.available(context).get(table.use)
        if spec is None:
            context.unknown((*path, "use"), kind.word, table.use, kind.available(context))
            continue
        given = dict(table.model_extra or {})
        parameters = context.parameters(path, spec, given, f'The {kind.word} "{spec.name}"')
        if parameters is not None:
            found.append(kind.make(table, parameters, False))
    return found


def _check_label(
    context: Context, path: KeyPath, table: UseTable, labels: set[str], word: str
) -> None:
    """Labels name the rows of the report, so each may be there once."""
    label = table.label or table.use
    if label in labels:
        context.problems.add(
            (*path, "label" if table.label else "use"),
            f'Two {word}s have the label "{label}".',
            expected=f"a label of its own for every [[{word}]]; without one it is `use`",
            remedy=f'write label = "{label}-2" or the like',
        )
    labels.add(label)


def _check_surrogate(context: Context, path: KeyPath, table: UseTable) -> None:
    known = context.registry.surrogates
    name = table.surrogate if isinstance(table, AttackTable) else None
    if name is not None and name not in known:
        context.unknown(path, "surrogate", name, known)


def _of_profile(
    context: Context, kind: _Kind[_C], profile: str, entries: Sequence[dict[str, Any]]
) -> tuple[list[_C], list[str]]:
    found, left_out = [], []
    for entry in entries:
        try:
            table = kind.table.model_validate(entry)
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
        spec = kind.available(context).get(table.use)
        if spec is not None:
            heading = f'The {kind.word} "{label}" of the profile "{profile}"'
            given = dict(table.model_extra or {})
            parameters = context.parameters(("profile",), spec, given, heading)
            if parameters is not None:
                found.append(kind.make(table, parameters, True))
        elif _may_be_disabled(context, table.use):
            left_out.append(label)
        else:
            context.unknown(("profile",), kind.word, table.use, kind.available(context))
    return found, left_out


def _may_be_disabled(context: Context, use: str) -> bool:
    """Whether `disable` is why there is no such attack.

    What a plugin that is disabled as a whole would have offered is not known.
    """
    registry = context.registry
    whole = any(plugin.status == "blocked" for plugin in registry.plugins)
    return use in registry.blocked or (whole and not registry.broken)
