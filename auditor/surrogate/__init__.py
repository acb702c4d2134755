"""Surrogates: anything differentiable that resembles the victim; attacks run on these."""

from auditor.surrogate.surrogate import Evaluation, NoGradientError, Surrogate, naive

__all__ = ["Evaluation", "NoGradientError", "Surrogate", "naive"]
