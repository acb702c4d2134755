"""Writes a configuration with every default, and sums up what its verdicts depend on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from auditor.config.load import SCHEMA
from auditor.config.model import (
    AttackConfig,
    AuditConfig,
    CheckConfig,
    GateConfig,
    ModelConfig,
    Normalize,
    ThreatConfig,
)
from auditor.registry import Registry


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


def _tree(config: AuditConfig) -> dict[str, Any]:
    """The file's tables; a key whose value is None is left out, as TOML has no null."""
    run, report, plugins = config.run, config.report, config.plugins
    tree = {
        "schema": SCHEMA,
        "title": config.title,
        "profile": config.profile,
        "run": {
            "seed": run.seed,
            "device": run.device,
            "threads": run.threads,
            "batch_size": run.batch_size,
            "search_precision": run.search_precision,
            "output": run.output_text,
            "executor": run.executor,
            "time_budget": None if run.time_budget is None else f"{run.time_budget:.0f}s",
        },
        "model": [_model(model) for model in config.models],
        "data": {
            "adapter": config.data.adapter,
            "samples": config.data.samples,
            "draw": config.data.draw,
            "expected_accuracy": config.data.expected_accuracy,
            **config.data.written,
        },
        "threat": [_threat(threat) for threat in config.threats],
        "attack": [
            {**_use(attack), "surrogate": attack.surrogate, **attack.parameters}
            for attack in config.attacks
        ],
        "check": [{**_use(check), **check.parameters} for check in config.checks],
        "gate": [_gate(gate) for gate in config.gates],
        "report": {
            "formats": list(report.formats),
            "gallery": report.gallery,
            "reviewers": list(report.reviewers),
        },
        "plugins": {"paths": list(plugins.paths_text), "disable": list(plugins.disable)},
    }
    written: dict[str, Any] = _without_none(tree)
    # `attack = []` has to be written, before the first table: no word of it means the profile's.
    return dict(sorted(written.items(), key=lambda item: not _stands_first(item[1])))


def _stands_first(value: Any) -> bool:
    return not isinstance(value, (dict, list)) or value == []


def _use(one: AttackConfig | CheckConfig) -> dict[str, Any]:
    return {"use": one.use, "label": one.label}


def _model(model: ModelConfig) -> dict[str, Any]:
    return {
        "name": model.name,
        "factory": model.factory or None,
        "kwargs": None if model.loader else dict(model.kwargs),
        "loader": model.loader,
        **model.loader_written,
        "weights": model.weights_text,
        "checkpoint": model.checkpoint_text,
        "checkpoint_key": model.checkpoint_key,
        "output_key": model.output_key,
        "outputs": model.outputs,
        "precision": model.precision,
        "normalize": _normalize(model.normalize),
        "bpda": model.bpda,
    }


def _normalize(normalize: Normalize | None) -> dict[str, Any] | None:
    if normalize is None:
        return None
    return {"mean": list(normalize.mean), "std": list(normalize.std)}


def _threat(threat: ThreatConfig) -> dict[str, Any]:
    return {
        "norm": threat.norm,
        "epsilon": [epsilon.text for epsilon in threat.epsilons],
        "rationale": threat.rationale,
    }


def _gate(gate: GateConfig) -> dict[str, Any]:
    return {
        "metric": gate.metric,
        "at_least": gate.at_least,
        "at_most": gate.at_most,
        "model": gate.model,
        "norm": gate.norm,
        "epsilon": gate.epsilon_text,
    }


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list) else value
