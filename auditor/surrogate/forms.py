"""Faster forms of the same function: another memory layout, BatchNorms folded into convolutions.

They change nothing but rounding, so they are surrogates like any other: what an attack finds on
them counts once the victim has confirmed it. Which of them pays is measured (`engine.tuning`), and
one whose logits or gradients are not the model's own is not used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch

from auditor.maths.objectives import choose_objective
from auditor.subject.copies import duplicate
from auditor.surrogate.surrogate import NoGradientError, Surrogate

Form = Literal["plain", "channels-last", "folded"]
FORMS: tuple[Form, ...] = get_args(Form)

#: How far logits and gradients may differ, relative to their largest: float32 through many layers.
_AGREEMENT = 1e-3


def in_form(surrogate: Surrogate, form: Form) -> Surrogate:
    """The surrogate with its model in that form; `folded` is channels-last too.

    Raises:
        Exception: the model cannot be copied, or (folded) its code cannot be traced.
    """
    if form == "plain":
        return surrogate
    module = duplicate(surrogate.model.module)
    if form == "folded":
        module = _folded(module)
    module.to(memory_format=torch.channels_last)
    return replace(surrogate, model=surrogate.model.with_module(module))


def _folded(module: torch.nn.Module) -> torch.nn.Module:
    from torch.fx.experimental.optimization import fuse

    folded: torch.nn.Module = fuse(module)
    return folded


def agrees(surrogate: Surrogate, other: Surrogate, x: torch.Tensor) -> bool:
    """Whether `other` has the logits and gradients of `surrogate` at images `x` (B, C, H, W)."""
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    objective = choose_objective("margin", 2)
    try:
        first = surrogate.evaluate(x, y, objective, gradient=True)
        second = other.evaluate(x, y, objective, gradient=True)
    except NoGradientError:
        return False
    assert first.gradient is not None
    assert second.gradient is not None
    return _close(first.logits, second.logits) and _close(first.gradient, second.gradient)


def _close(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Row by row; false where either is not finite."""
    scale = first.flatten(1).abs().amax(1)
    apart = (first - second).flatten(1).abs().amax(1)
    return bool((apart <= _AGREEMENT * scale).all())
