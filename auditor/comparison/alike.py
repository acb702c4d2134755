"""What was done to both models, and what both audits rest on: batteries, findings, differences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from auditor.comparison.result import (
    Battery,
    Difference,
    FindingChanges,
)
from auditor.results import AuditResult, Finding, ModelResult, Provenance, ThreatResult

#: What names an entry of a list of tables.
_NAMES = ("label", "name", "norm")
_ABSENT = object()


def attacks(a: ThreatResult, b: ThreatResult) -> Battery:
    """The attacks that were done on either side."""
    return _battery(
        *(
            {one.label: (one.name, one.parameters) for one in side.attacks if one.status == "done"}
            for side in (a, b)
        )
    )


def checks(a: ModelResult, b: ModelResult) -> Battery:
    """The checks that were done, or found nothing to look at, on either side."""
    return _battery(
        *(
            {
                one.label: (one.name, one.parameters)
                for one in side.checks
                if one.status in ("done", "not applicable")
            }
            for side in (a, b)
        )
    )


def _battery(a: Mapping[str, Any], b: Mapping[str, Any]) -> Battery:
    both = [label for label in a if label in b]
    return Battery(
        shared=tuple(label for label in both if a[label] == b[label]),
        only_a=tuple(label for label in a if label not in b),
        only_b=tuple(label for label in b if label not in a),
        changed=tuple(label for label in both if a[label] != b[label]),
    )


def findings(a: ModelResult, b: ModelResult) -> FindingChanges:
    """Findings that came, went, and stayed.

    A fingerprint holds the name of its model, so that findings on models of different names are
    known by code and title.
    """
    named_alike = a.name == b.name

    def known_by(one: Finding) -> tuple[str, ...]:
        return (one.fingerprint,) if named_alike else (one.code, one.title)

    before, after = ({known_by(one) for one in side.findings} for side in (a, b))
    return FindingChanges(
        new=tuple(one for one in b.findings if known_by(one) not in before),
        fixed=tuple(one for one in a.findings if known_by(one) not in after),
        unchanged=tuple(one for one in b.findings if known_by(one) in before),
    )


def configuration(
    a: dict[str, Any], b: dict[str, Any], pairs: Sequence[tuple[str, str]], *, only: bool = False
) -> tuple[Difference, ...]:
    """Every key of two lock files whose value is another, or which one of them lacks.

    Args:
        pairs: names of the models that are compared.
        only: without models that are not.
    """
    shown = (
        {one: _pair(one, other) for one, other in pairs},
        {other: _pair(one, other) for one, other in pairs},
    )
    keyed = [_keyed(side, names) for side, names in zip((a, b), shown, strict=True)]
    if only:
        for tree, names in zip(keyed, shown, strict=True):
            for name in set(tree.get("model", ())) - {*names.values()}:
                del tree["model"][name]
    return tuple(_differences("", *keyed))


def _pair(one: str, other: str) -> str:
    return one if one == other else f"{one} → {other}"


def _keyed(value: Any, models: Mapping[str, str], table: str = "") -> Any:
    """Tables in the place of lists of tables, by the name of each entry or else its place."""
    if isinstance(value, dict):
        return {key: _keyed(part, models, key) for key, part in value.items()}
    if not isinstance(value, list) or not value or not all(isinstance(e, dict) for e in value):
        return value
    names = [next((str(entry[key]) for key in _NAMES if key in entry), "") for entry in value]
    if table == "model":
        names = [models.get(name, name) for name in names]
    if len({*names, ""}) <= len(names):  # one has none, or two have the same
        names = [str(place) for place in range(1, len(names) + 1)]
    return _Entries(zip(names, (_keyed(entry, models) for entry in value), strict=True))


class _Entries(dict[str, Any]):
    """A list of tables, by name."""


def _differences(where: str, a: Any, b: Any) -> Iterator[Difference]:
    if isinstance(a, dict) and isinstance(b, dict):
        entries = isinstance(a, _Entries) or isinstance(b, _Entries)
        for key in dict.fromkeys([*a, *b]):
            below = f"{where}[{key}]" if entries else f"{where}.{key}".lstrip(".")
            yield from _differences(below, a.get(key, _ABSENT), b.get(key, _ABSENT))
    elif a != b:
        yield Difference(where, _text(a), _text(b))


def _text(value: Any) -> str | None:
    """A value as text; None of one that is not there."""
    if value is _ABSENT:
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def data(a: AuditResult, b: AuditResult) -> tuple[Difference, ...]:
    """What is not the same of the two data sets."""
    one, other = a.provenance.data, b.provenance.data
    names = ("adapter", "source", "sha256", "available", "audited", "draw", "shape", "class_names")
    return _unlike({name: (getattr(one, name), getattr(other, name)) for name in names})


def versions(a: Provenance, b: Provenance) -> tuple[Difference, ...]:
    """Versions, machine and plugins that are not the same."""
    names = ("auditor", "python", "torch", "platform", "device", "threads", "batch_size")
    found = {name: (getattr(a, name), getattr(b, name)) for name in names}
    for library in dict.fromkeys([*a.versions, *b.versions]):
        found[library] = a.versions.get(library, _ABSENT), b.versions.get(library, _ABSENT)
    ours, theirs = (
        {one.name: f"{one.status}, {one.version}, {one.sha256[:16]}" for one in side.plugins}
        for side in (a, b)
    )
    for name in dict.fromkeys([*ours, *theirs]):
        found[f"plugin {name}"] = ours.get(name, _ABSENT), theirs.get(name, _ABSENT)
    return _unlike(found)


def _unlike(pairs: Mapping[str, tuple[Any, Any]]) -> tuple[Difference, ...]:
    return tuple(Difference(key, _text(a), _text(b)) for key, (a, b) in pairs.items() if a != b)
