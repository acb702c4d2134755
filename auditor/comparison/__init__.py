"""Two finished audits side by side: `auditor compare`. Needs neither model, data nor torch."""

from __future__ import annotations

from auditor.comparison.compare import compare
from auditor.comparison.result import Change, Comparison, ModelChange, to_json
from auditor.comparison.source import Source, load

__all__ = ["Change", "Comparison", "ModelChange", "Source", "compare", "load", "to_json"]
