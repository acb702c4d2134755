"""Surrogates: anything differentiable that resembles the victim; attacks run on these."""

from auditor.surrogate.forms import FORMS, Form, agrees, in_form
from auditor.surrogate.surrogate import (
    Evaluation,
    NoGradientError,
    SearchPrecision,
    Surrogate,
    naive,
)

__all__ = [
    "FORMS",
    "Evaluation",
    "Form",
    "NoGradientError",
    "SearchPrecision",
    "Surrogate",
    "agrees",
    "in_form",
    "naive",
]
