"""How two audits differ in configuration, data, versions and attacks."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

from auditor.comparison.facts import Difference
from auditor.reading import Run
from auditor.results import AttackResult, ThreatResult

#: How the lock file calls one of several tables.
_NAMES = {"model": "name", "threat": "norm", "attack": "label", "check": "label"}
_MISSING = "–"


def differences(a: Run, b: Run, notes: list[str]) -> Iterator[Difference]:
    """Everything that is not the same, configuration first."""
    first, second = _locked(a), _locked(b)
    if first is None or second is None:
        side = "A" if first is None else "B"
        notes.append(
            f"{side} has no config.lock.toml: its configuration is not compared key by key."
        )
    else:
        yield from _unequal("configuration", first, second)
    yield from _unequal("data", _data(a), _data(b))
    yield from _unequal("versions", _versions(a), _versions(b))


def attacks_differ(a: ThreatResult, b: ThreatResult) -> Iterator[str]:
    """What was attacked with in one audit and not, or otherwise, in the other."""
    first, second = _done(a), _done(b)
    for label in first.keys() - second.keys():
        yield f"{label} ran in A alone"
    for label in second.keys() - first.keys():
        yield f"{label} ran in B alone"
    for label in first.keys() & second.keys():
        one, other = _flat(_settings(first[label])), _flat(_settings(second[label]))
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                mine, theirs = one.get(key, _MISSING), other.get(key, _MISSING)
                yield f"{label} had {key} {mine} in A, and {theirs} in B"


def _done(threat: ThreatResult) -> dict[str, AttackResult]:
    return {one.label: one for one in threat.attacks if one.status == "done"}


def _settings(attack: AttackResult) -> dict[str, Any]:
    return {**attack.parameters, "use": attack.name}


def _locked(run: Run) -> dict[str, str] | None:
    """The keys of the lock file; None where there is none to read."""
    if run.lock is None:
        return None
    try:
        return _flat(tomllib.loads(run.lock.decode("utf-8")))
    except ValueError:
        return None


def _data(run: Run) -> dict[str, str]:
    data = run.result.provenance.data
    return _flat(
        {
            "adapter": data.adapter, "sha256": data.sha256, "available": data.available,
            "audited": data.audited, "shape": list(data.shape), "draw": data.draw,
        }
    )  # fmt: skip


def _versions(run: Run) -> dict[str, str]:
    made = run.result.provenance
    models = [{"name": one.name, "sha256": one.fingerprint} for one in run.result.models]
    plugins = {one.name: f"{one.version} {one.sha256}".strip() for one in made.plugins}
    return _flat(
        {
            "auditor": made.auditor, "python": made.python, "torch": made.torch,
            "platform": made.platform, "device": made.device, "seed": made.seed,
            "profile": run.result.profile, **made.versions,
            "model": models, "plugin": plugins,
        }
    )  # fmt: skip


def _unequal(kind: Any, a: dict[str, str], b: dict[str, str]) -> Iterator[Difference]:
    for key in dict.fromkeys([*a, *b]):
        if a.get(key) != b.get(key):
            yield Difference(kind, key, a.get(key, _MISSING), b.get(key, _MISSING))


def _flat(tree: Any, path: str = "") -> dict[str, str]:
    """`model.NAME.kwargs.width` and what it is; tables of a list are called by their names."""
    if isinstance(tree, dict):
        parts = {f"{path}.{key}" if path else key: value for key, value in tree.items()}
    elif isinstance(tree, list) and tree and all(isinstance(one, dict) for one in tree):
        parts = {}
        for place, one in enumerate(tree):
            name = one.get(_NAMES.get(path, ""), place)
            # One alone is that table whatever it is called.
            key = f"{path}.{name}" if len(tree) > 1 else path
            parts[key if key not in parts else f"{key}.{place}"] = one
    else:
        return {path: tree if isinstance(tree, str) else json.dumps(tree, default=str)}
    found: dict[str, str] = {}
    for key, value in parts.items():
        found |= _flat(value, key)
    return found
