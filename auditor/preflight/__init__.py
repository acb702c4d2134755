"""Looks at a victim before it is attacked: is it set up as its user believes?

Everything odd becomes a finding with a remedy; what makes an audit impossible raises a LoadError.
"""

from auditor.preflight.findings import Maker, fingerprint, left_findings, left_in_training
from auditor.preflight.preflight import (
    Preflight,
    blaming_model,
    count_classes,
    preflight,
    read_batch,
)

__all__ = [
    "Maker",
    "Preflight",
    "blaming_model",
    "count_classes",
    "fingerprint",
    "left_findings",
    "left_in_training",
    "preflight",
    "read_batch",
]
