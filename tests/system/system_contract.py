"""The outside of a run as users rely on it: files, keys of audit.json, columns of samples.parquet.

Written out by hand, and not derived from the code: renaming a key has to break a test.
"""

from __future__ import annotations

ACCURACY = {"correct", "total", "accuracy", "ci95"}

FILES = {
    "audit.json",
    "config.lock.toml",
    "samples.parquet",
    "adversarial.safetensors",
    "events.jsonl",
    "cells",
    "report.html",
    "report.pdf",
}

COLUMNS = {
    "model": "string",
    "threat": "string",
    "epsilon": "double",
    "attack": "string",
    "id": "int64",
    "image": "int64",
    "label": "int64",
    "clean_prediction": "int64",
    "prediction": "int64",
    "broken": "bool",
    "broken_8bit": "bool",
    "margin": "double",
    "norm": "double",
    "nearest": "double",
    "passes": "int64",
}

#: Keys by where they stand; `*` is every entry of a list, and `a.b` a key of a key.
KEYS: dict[str, set[str]] = {
    "": {
        "schema",
        "title",
        "profile",
        "status",
        "verdict",
        "exit_status",
        "reasons",
        "not_tested",
        "reviewers",
        "models",
        "gates",
        "provenance",
    },
    "models.*": {
        "name",
        "fingerprint",
        "parameters",
        "outputs",
        "precision",
        "classes",
        "clean",
        "threats",
        "masking",
        "measurements",
        "findings",
        "gallery",
    },
    "models.*.clean": ACCURACY,
    "models.*.threats.*": {
        "norm",
        "epsilon",
        "epsilon_text",
        "rationale",
        "attacks",
        "robust",
        "robust_8bit",
        "certified",
    },
    "models.*.threats.*.robust": ACCURACY,
    "models.*.threats.*.attacks.*": {
        "name",
        "label",
        "parameters",
        "status",
        "reason",
        "robust",
        "broken",
        "forwards",
        "backwards",
        "seconds",
        "surrogate",
    },
    "models.*.threats.*.attacks.*.robust": ACCURACY,
    "models.*.masking": {
        "verdict",
        "kind",
        "culprit",
        "gradient_attack_accuracy",
        "corrected_accuracy",
        "hidden",
        "power",
        "evidence",
    },
    "models.*.masking.power": {"samples", "challenged", "sensitivity", "detectable_fraction"},
    "models.*.findings.*": {
        "code",
        "title",
        "severity",
        "confidence",
        "summary",
        "evidence",
        "remedy",
        "references",
        "fingerprint",
    },
    "gates.*": {"metric", "limit", "value", "holds", "model", "norm", "epsilon"},
    "provenance": {
        "auditor",
        "python",
        "torch",
        "device",
        "seed",
        "started",
        "seconds",
        "plugins",
        "hashes",
    },
}
