"""Surrogates: anything differentiable that resembles the victim; attacks run on these."""

from auditor.surrogate.forms import FORMS, Form, agrees, in_form
from auditor.surrogate.maker import SurrogateMaker
from auditor.surrogate.surrogate import (
    Evaluation,
    NoGradientError,
    SearchPrecision,
    Surrogate,
    naive,
)
from auditor.surrogate.trace import Trace, trace

__all__ = [
    "FORMS",
    "Evaluation",
    "Form",
    "NoGradientError",
    "SearchPrecision",
    "Surrogate",
    "SurrogateMaker",
    "Trace",
    "agrees",
    "in_form",
    "naive",
    "trace",
]
