"""Heads that hide their scores: what went into a monotone last step, carried to the answer.

Probabilities of a confident network are 0 and 1 but for a narrow band, more so once they are
rounded to half precision, two decimals or a byte: a loss computed on them is constant over most of
the ball, and so is what an attack compares its points by. What is decided, though, was decided by
the scores before the softmax, and every such step keeps their order. So the scores that went into
the first of these steps are carried along (`Link.scores`) through all that follow, as long as each
keeps the order of the classes, and the repaired surrogate's loss is computed on them. The answer
stays the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from auditor.surrogate.repair.links import REFUSALS, Call, link_of, tensors
from auditor.surrogate.repair.twins import Twins

_Scores: TypeAlias = "torch.Tensor | None"
#: The scores of an operation's result, given the call, its live argument and that one's scores.
_Carry = Callable[["Twins", Call, torch.Tensor, _Scores], _Scores]


def carry(tape: Twins, call: Call, out: Any) -> None:
    """Give the result of a call the scores that decided it, if the call keeps their order."""
    if call.name in _RULES and isinstance(out, torch.Tensor):
        link = link_of(out, tape)
        if link is not None and link.scores is None:
            link.scores = carried(tape, call, out)


def carried(tape: Twins, call: Call, out: torch.Tensor) -> torch.Tensor | None:
    """The scores of a call's result, whose shape is that of `out`; None if their order is lost."""
    live = [one for one in tensors((call.args, call.kwargs)) if tape.live(one)]
    rule = _RULES.get(call.name)
    if rule is None or not live:
        return None
    source = max(live, key=torch.Tensor.numel)
    link = tape.link(source)
    scores = rule(tape, call, source, None if link is None else link.scores)
    return scores if scores is not None and scores.shape == out.shape else None


def known_scores(tape: Twins, values: Any) -> list[torch.Tensor]:
    """The scores of tensors that go into code which cannot be seen through, or they themselves."""
    links = [tape.link(one) for one in tensors(values) if tape.live(one)]
    found = [link.soft if link.scores is None else link.scores for link in links if link]
    return [one for one in found if one is not None and one.is_floating_point()]


def opaque(tape: Twins, known: list[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    """What came out of such code: it may be a head, if what went in has its shape."""
    link = link_of(out, tape)
    if link is not None:
        link.scores = next((one for one in known if one.shape == out.shape), None)
    return out


def _begun(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """An increasing function of each entry: what went into the first of them counts."""
    if scores is not None:
        return scores
    soft: torch.Tensor = tape.soft(source)
    return soft if soft.is_floating_point() else None


def _softmax(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """The same, if it is over the classes and not over the images."""
    dim = call.argument(1, "dim")
    over_images = dim is not None and source.dim() > 1 and dim % source.dim() == 0
    return None if over_images else _begun(tape, call, source, scores)


def _kept(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    return scores


def _turned(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """A decreasing function of each entry."""
    return None if scores is None else -scores


def _reshaped(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """The same entries in another shape."""
    if scores is None:
        return None
    try:
        result: torch.Tensor = call.func(scores, *call.args[1:], **call.kwargs)
    except REFUSALS:
        return None
    return result


def _even(other: Any) -> bool:
    """Whether it is the same for all classes of an image: a number, or one for each row."""
    if not isinstance(other, torch.Tensor):
        return isinstance(other, (int, float))
    return other.numel() == 1 or (other.dim() > 1 and other.shape[-1] == 1)


def _other(call: Call, source: torch.Tensor) -> Any:
    return call.argument(1, "other") if call.args[0] is source else call.args[0]


def _shifted(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """Something added to all classes alike, or they taken from it."""
    if scores is None or not _even(_other(call, source)):
        return None
    taken = "rsub" in call.name or ("sub" in call.name and call.args[0] is not source)
    return -scores if taken else scores


def _scaled(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """All classes times, or divided by, the same number; a negative one turns their order."""
    other = _other(call, source)
    if not _even(other) or ("div" in call.name and call.args[0] is not source):
        return None
    if "floor" in call.name or call.kwargs.get("rounding_mode"):
        scores = _begun(tape, call, source, scores)
    if scores is None:
        return None
    if not isinstance(other, torch.Tensor):
        return scores if other > 0 else -scores if other < 0 else None
    return scores * other.detach().sign()


def _joined(tape: Twins, call: Call, source: torch.Tensor, scores: _Scores) -> _Scores:
    """Classes put together, each with scores of its own."""
    parts = call.argument(0, "tensors")
    found = [link.scores for part in parts if (link := tape.link(part)) is not None]
    known = [one for one in found if one is not None]
    if len(known) < len(parts):
        return None
    result: torch.Tensor = call.func(known, *call.args[1:], **call.kwargs)
    return result


def _table() -> dict[str, _Carry]:
    rules: dict[str, _Carry] = {}
    for names, rule in (
        ("round floor ceil trunc fix sign sgn clamp clip clamp_min clamp_max hardtanh"
         " sigmoid tanh logsigmoid hardsigmoid erf exp expm1", _begun),
        ("softmax log_softmax", _softmax),
        ("half bfloat16 int long short char byte to _to_copy type type_as", _begun),
        ("float double log log2 log10 log1p sqrt clone contiguous detach data cpu cuda"
         " nan_to_num", _kept),
        ("neg negative __neg__", _turned),
        ("view reshape flatten squeeze unsqueeze", _reshaped),
        ("stack cat", _joined),
        ("add __add__ __radd__ sub subtract __sub__ rsub __rsub__", _shifted),
        ("mul multiply __mul__ __rmul__ div divide true_divide __div__ __truediv__ floor_divide"
         " __floordiv__", _scaled),
    ):  # fmt: skip
        rules |= dict.fromkeys(names.split(), rule)
    return rules


_RULES = _table()
