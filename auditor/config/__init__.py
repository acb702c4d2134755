"""audit.toml: from the file to an `AuditConfig`, or to everything that is wrong with it."""

from __future__ import annotations

from auditor.config.load import load_config
from auditor.config.lock import config_hash, lock_text
from auditor.config.model import (
    AttackConfig,
    AuditConfig,
    CheckConfig,
    DataConfig,
    Epsilon,
    GateConfig,
    ModelConfig,
    Normalize,
    PluginsConfig,
    ReportConfig,
    RunConfig,
    ThreatConfig,
)

__all__ = [
    "AttackConfig",
    "AuditConfig",
    "CheckConfig",
    "DataConfig",
    "Epsilon",
    "GateConfig",
    "ModelConfig",
    "Normalize",
    "PluginsConfig",
    "ReportConfig",
    "RunConfig",
    "ThreatConfig",
    "config_hash",
    "load_config",
    "lock_text",
]
