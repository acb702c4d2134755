"""Surrogates that an attack can be told to run on, beside the model's own autograd."""

from __future__ import annotations

from auditor.api import Surrogate, SurrogateMaker, hookimpl, surrogate


@surrogate(name="repaired")
def repaired(own: Surrogate) -> Surrogate:
    """The model with gradients where its operations have none, or false ones (BPDA)."""
    return own.repaired()


@surrogate(name="rescaled")
def rescaled(own: Surrogate) -> Surrogate:
    """The model with the loss of logits that are scaled so that it underflows nowhere."""
    return own.rescaled()


@surrogate(name="expected")
def expected(own: Surrogate) -> Surrogate:
    """The model with its random numbers replaced by what they are worth in the mean."""
    return own.expected()


@hookimpl
def auditor_surrogates() -> list[SurrogateMaker]:
    """Repaired, rescaled and expected."""
    return [repaired, rescaled, expected]
