"""Writes a configuration with every default, and sums up what its verdicts depend on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

from auditor.config.load import SCHEMA
from auditor.registry import Registry
from auditor.schema.audit import AuditConfig


def lock_text(config: AuditConfig, registry: Registry) -> str:
    """The text of config.lock.toml: reading it in the same directory gives an equal configuration.

    Args:
        registry: what the configuration was resolved with; it knows the profile's version.
    """
    import tomlkit  # only a run that starts needs it

    profile = registry.profiles.get(config.profile)
    version = f", version {profile.version}" if profile else ""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"{config.path.name} with every default written out."))
    document.add(tomlkit.comment(f"Paths are relative to the directory of {config.path.name}."))
    document.add(tomlkit.comment(f'Profile "{config.profile}"{version}.'))
    for key, value in _tree(config).items():
        document.add(key, tomlkit.item(value))
    return tomlkit.dumps(document)


def config_hash(config: AuditConfig) -> str:
    """sha256 of everything in the configuration that can change a number of the result.

    Not in it: titles, reports, gates and rationales; the output directory, the time budget and how
    the work is cut (threads, batch size, executor). Nor the contents of the files it names:
    weights, data and plugins have hashes of their own.
    """
    tree = _tree(config)
    content = {
        "schema": SCHEMA,
        "run": {key: tree["run"][key] for key in ("seed", "device", "search_precision")},
        "model": tree["model"],
        "data": tree["data"],
        "threat": [
            {"norm": threat.norm, "epsilon": [str(size.fraction) for size in threat.epsilons]}
            for threat in config.threats
        ],
        "attack": tree["attack"],
        "check": tree["check"],
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def only_judged_anew(before: Path, text: str) -> bool:
    """Whether a lock file differs from that of a run, and in gates, titles and reports alone."""
    try:
        old, new = tomllib.loads(before.read_text(encoding="utf-8")), tomllib.loads(text)
    except (OSError, ValueError):
        return False
    return old != new and _measured(old) == _measured(new)


def _measured(tree: dict[str, Any]) -> dict[str, Any]:
    """The tables of a lock file without what the judgement and its presentation depend on."""
    kept = {key: value for key, value in tree.items() if key not in ("title", "gate", "report")}
    threats = [
        {key: value for key, value in threat.items() if key != "rationale"}
        for threat in tree.get("threat", ())
    ]
    return {**kept, "threat": threats}


def _tree(config: AuditConfig) -> dict[str, Any]:
    """The file's tables; a key whose value is None is left out, as TOML has no null."""
    tree: dict[str, Any] = _without_none({"schema": SCHEMA, **config.model_dump(by_alias=True)})
    # `attack = []` has to be written, before the first table: no word of it means the profile's.
    return dict(sorted(tree.items(), key=lambda item: not _stands_first(item[1])))


def _stands_first(value: Any) -> bool:
    return not isinstance(value, (dict, list)) or value == []


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list | tuple) else value
