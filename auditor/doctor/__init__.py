"""Proves that an audit can run here: environment, devices, PDF, plugins, and what is audited.

It has to start where little else does: what is tried is imported in another process, or late.
"""

from __future__ import annotations

from auditor.doctor.examination import examine
from auditor.doctor.proof import Outcome, Proof, exit_status

__all__ = ["Outcome", "Proof", "examine", "exit_status"]
