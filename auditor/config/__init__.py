"""audit.toml: from the file to an `AuditConfig`, or to everything that is wrong with it."""

from __future__ import annotations

from auditor.config.load import load_config
from auditor.config.lock import config_hash, lock_text
from auditor.schema.audit import AuditConfig
from auditor.schema.tables import (
    AttackConfig,
    CheckConfig,
    DataConfig,
    GateConfig,
    ModelConfig,
    NormalizeConfig,
    ThreatConfig,
)
from auditor.schema.values import Epsilon

__all__ = [
    "AttackConfig",
    "AuditConfig",
    "CheckConfig",
    "DataConfig",
    "Epsilon",
    "GateConfig",
    "ModelConfig",
    "NormalizeConfig",
    "ThreatConfig",
    "config_hash",
    "load_config",
    "lock_text",
]
