"""Two finished audits side by side, image by image; no torch, and nothing is run."""

from __future__ import annotations

from auditor.comparison.compare import compare
from auditor.comparison.facts import Comparison, to_json

__all__ = ["Comparison", "compare", "to_json"]
