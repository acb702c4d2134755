"""Operations that write to a tensor, and what becomes of its twin.

As a rule a tensor and its twin share their memory, so that writing to the twin writes to both, and
autograd itself knows what that means for every other view of them.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from auditor.surrogate.names import base_name
from auditor.surrogate.repair.heads import carried, carry
from auditor.surrogate.repair.links import (
    REFUSALS,
    Call,
    Link,
    attach,
    mapped,
    shared,
    tensors,
    usable,
)
from auditor.surrogate.repair.rules import RULES
from auditor.surrogate.repair.soft import straight
from auditor.surrogate.repair.twins import Twins


class OverwrittenError(RuntimeError):
    """The model writes to one of several views of a tensor: to be repeated cautiously."""


def into_out(tape: Twins, call: Call) -> Any:
    """An operation whose result is written to `out`."""
    kwargs = dict(call.kwargs)
    out = kwargs.pop("out")
    result = tape.carry_out(Call(call.name, call.func, call.args, kwargs, call.links))
    for target, value in zip(tensors(out), list(tensors(result)), strict=True):
        _assign(tape, target, value)
    return out


def write(tape: Twins, call: Call) -> Any:
    """An operation that writes to its first argument."""
    base = base_name(call.name)
    target: torch.Tensor = call.args[0]
    rule = RULES.get(base)
    own = tape.differentiated(call)
    if rule is not None and not own and any(link.live for link in call.links):
        func = getattr(torch.Tensor, base, None) or getattr(torch, base, None)
        renamed = Call(base, func, call.args, call.kwargs, call.links)
        effect = rule.effect(tape, renamed)
        if effect and tape.permits(base, effect):
            value = rule.repair(tape, renamed)
            carry(tape, renamed, value)
            return _assign(tape, target, value)
    link = _target(tape, target)
    soft = link.soft
    renamed = Call(base, call.func, call.args, call.kwargs, call.links)
    link.scores = _apart(carried(tape, renamed, target), soft)
    if soft is None or not target.is_floating_point() or not shared(soft, target):
        return _beside(tape, call, link)
    rest = mapped(lambda value: usable(_written(tape, value)), call.args[1:])
    try:
        call.func(soft, *rest, **mapped(tape.soft, call.kwargs))
    except REFUSALS:
        if soft._is_view() and not tape.cautious:
            raise OverwrittenError from None
        return _beside(tape, call, link)
    link.sites |= tape.sites
    return target


def _beside(tape: Twins, call: Call, link: Link) -> Any:
    """In place on a tensor that does not share its memory with its twin."""
    target, soft = call.args[0], link.soft
    copy = target.detach().to(torch.get_default_dtype()) if soft is None else soft.clone()
    rest = mapped(lambda value: _written(tape, value), call.args[1:])
    try:
        call.func(copy, *rest, **mapped(tape.soft, call.kwargs))
    except REFUSALS:
        copy = soft if soft is not None else copy
    with contextlib.nullcontext() if tape.differentiated(call) else torch.no_grad():
        call.hard()
    link.soft = straight(copy, target) if copy.shape == target.shape else None
    link.sites |= tape.sites
    link.choice = None
    return target


def _written(tape: Twins, value: Any) -> Any:
    """The twin of what is written; autograd does not follow it where gradients are off."""
    return tape.passed(tape.soft(value))


def _target(tape: Twins, tensor: torch.Tensor) -> Link:
    """The link of a tensor about to be written to; it gets one if it has none."""
    link = tape.link(tensor)
    if link is None and tensor.is_floating_point() and not tensor.is_inference():
        base = tensor._base
        if base is not None and base.is_floating_point() and not base.requires_grad:
            known = Link(tape, base.detach(), sites=tape.sites)
            attach(base, known)
            return tape.of_view(tensor, known)
        link = Link(tape, tensor.detach(), sites=tape.sites)
        attach(tensor, link)
    elif link is None:
        link = Link(tape, None, sites=tape.sites)
        attach(tensor, link)
    return link


def _assign(tape: Twins, target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Write `value`, a tensor of the model, over `target`."""
    link, source = _target(tape, target), tape.link(value)
    scores = None if source is None else _apart(source.scores, link.soft)
    if link.soft is not None and target.is_floating_point() and shared(link.soft, target):
        link.soft.copy_(_written(tape, value))
    else:
        target.copy_(value)
        link.soft = None if source is None else source.soft
    link.sites |= tape.sites
    if source is not None:
        link.mask, link.choice, link.scores = source.mask, source.choice, scores
    return target


def _apart(scores: torch.Tensor | None, soft: torch.Tensor | None) -> torch.Tensor | None:
    """The scores, as they are before something is written over the twin that they may be."""
    return scores.clone() if scores is not None and scores is soft else scores
