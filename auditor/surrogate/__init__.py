"""Surrogates: anything differentiable that resembles the victim. Attacks run on them, never on it."""

from auditor.surrogate.surrogate import Evaluation, NoGradientError, Surrogate, naive

__all__ = ["Evaluation", "NoGradientError", "Surrogate", "naive"]
