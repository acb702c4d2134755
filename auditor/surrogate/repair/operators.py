"""Operators that the user registered with torch.library: their gradient may say anything too.

Like a `torch.autograd.Function` (see `functions`), an operator of `torch.library.custom_op` comes
with a gradient of its author's choice, or with none. Its Python implementation is differentiated
instead, operation by operation. One that is written in another language cannot be seen into and
keeps the gradient it declares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS

from auditor.surrogate.repair.links import REFUSALS, Call, link_of, mapped, tensors
from auditor.surrogate.repair.twins import Entry, Twins


def rule_of(name: str) -> Entry | None:
    """What is done about the operator, by its qualified name; None where it is not the user's."""
    return _RULE if "::" in name and name in OPDEFS else None


def _implementation(call: Call) -> Callable[..., Any] | None:
    """What computes the operator where its arguments lie; None where it writes to them."""
    definition = OPDEFS[call.name]
    if definition._opoverload._schema.is_mutable:
        return None
    device = next(tensors((call.args, call.kwargs))).device.type
    found: Callable[..., Any] = definition._backend_fns.get(device, definition._init_fn)
    return found


def _effect(tape: Twins, call: Call) -> Any:
    return "replaces" if _implementation(call) is not None else None


def _differentiated(tape: Twins, call: Call) -> Any:
    """The outputs with the twins that the implementation's own operations lead to."""
    implementation = _implementation(call)
    assert implementation is not None
    sites = tape.sites
    state = torch.get_rng_state()
    try:
        with tape:
            out = implementation(*call.args, **call.kwargs)
    except REFUSALS:
        torch.set_rng_state(state)
        return tape.plain(call)

    def one(tensor: torch.Tensor) -> torch.Tensor:
        link = link_of(tensor, tape)
        if link is not None and link.live:
            link.sites |= sites
            return tensor
        for value in tensors((call.args, call.kwargs)):
            if tape.live(value) and value.shape == tensor.shape and tensor.is_floating_point():
                return tape.carried(tensor, value, sites)
        return tensor

    return mapped(one, out)


_RULE = Entry(_effect, _differentiated)
