"""Surrogates: anything differentiable that resembles the victim; attacks run on these."""

from auditor.surrogate.surrogate import (
    Evaluation,
    NoGradientError,
    SearchPrecision,
    Surrogate,
    naive,
)

__all__ = ["Evaluation", "NoGradientError", "SearchPrecision", "Surrogate", "naive"]
