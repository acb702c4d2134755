"""What each operation without an honest gradient is given instead.

Source: Athalye et al. 2018, arXiv:1802.00420, section 4.1; the soft choices are the usual
relaxations (softmax for argmax, its expectation for a table that is looked up in).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from auditor.surrogate.repair.choices import CHOICE_RULES
from auditor.surrogate.repair.links import Call
from auditor.surrogate.repair.masks import MASK_RULES
from auditor.surrogate.repair.soft import finite, mostly, sloped, step_slope, straight, tempered
from auditor.surrogate.repair.twins import Entry, Twins, entries
from auditor.surrogate.sites import Treatment

#: The slope of a staircase. Below 1, so that x - floor(x) keeps a gradient.
_STAIRS = 0.75
#: The slope of what a division leaves, so that x - x % 1 keeps one too.
_REMAINDER = 0.5
#: A slope below this share of its largest has vanished.
_VANISHED = 0.01


def _first_live(effect: Treatment) -> Callable[[Twins, Call], Treatment | None]:
    return lambda tape, call: effect if tape.live(call.args[0]) else None


def _any_live(effect: Treatment) -> Callable[[Twins, Call], Treatment | None]:
    return lambda tape, call: effect


# Staircases, casts, detached tensors ---------------------------------------------------------


def _staircase(tape: Twins, call: Call) -> Any:
    return tape.result(call.hard(), _STAIRS * tape.soft(call.args[0]))


def _step(tape: Twins, call: Call) -> Any:
    x = tape.soft(call.args[0])
    return tape.emit(sloped(x, call.hard(), step_slope(x)))


def _quotient(tape: Twins, call: Call) -> Any:
    first, second = (tape.soft(call.argument(i, n)) for i, n in enumerate(("input", "other")))
    if call.name == "__rfloordiv__":
        first, second = second, first
    return tape.result(call.hard(), _STAIRS * torch.true_divide(first, second))


def _rounds(tape: Twins, call: Call) -> Treatment | None:
    return "flattens" if call.kwargs.get("rounding_mode") else None


def _remainder(tape: Twins, call: Call) -> Any:
    hard = call.hard()
    return tape.result(hard, (_REMAINDER * tape.soft(call.args[0])).expand(hard.shape))


def _same(tape: Twins, call: Call) -> Any:
    """The operation hides where its result comes from, and changes no value."""
    hard, link = call.hard(), tape.link(call.args[0])
    assert link is not None
    assert link.soft is not None
    if hard.is_floating_point():
        return tape.emit(straight(link.soft, hard), scores=link.scores, mask=link.mask)
    return tape.mark(hard, link.soft, choice=link.choice, mask=link.mask)


def _alias(tape: Twins, call: Call) -> Any:
    """detach and .data: a view, so that what is written to one is seen in the other."""
    source = call.args[0]
    link = tape.link(source)
    assert link is not None
    assert link.soft is not None
    if not source.is_floating_point() or source.requires_grad:
        return tape.mark(call.hard(), link.soft, choice=link.choice, mask=link.mask)
    return tape.emit(link.soft.view_as(link.soft), scores=link.scores, mask=link.mask)


def _cast_effect(tape: Twins, call: Call) -> Treatment | None:
    source = call.args[0]
    if not isinstance(source, torch.Tensor) or not tape.live(source):
        return None
    if not source.is_floating_point():
        return "quiet" if _target_type(call) is not None else None
    kind = _target_type(call)
    if kind is None:
        return None
    return _narrows(source.dtype, kind) if kind.is_floating_point else "cuts"


def _narrows(source: torch.dtype, kind: torch.dtype) -> Treatment | None:
    return "narrows" if torch.finfo(kind).tiny > torch.finfo(source).tiny else None


def _target_type(call: Call) -> torch.dtype | None:
    if call.name in _CASTS:
        return _CASTS[call.name]
    for value in (*call.args[1:], *call.kwargs.values()):
        if isinstance(value, torch.dtype):
            return value
        if isinstance(value, torch.Tensor):
            return value.dtype
        if isinstance(value, str) and value.endswith("Tensor"):
            return torch.empty(0).type(value).dtype
    return None


def _cast(tape: Twins, call: Call) -> Any:
    source, kind = call.args[0], _target_type(call)
    if source.is_floating_point() and kind is not None and kind.is_floating_point:
        return tape.plain(call)
    hard = call.hard()
    link = tape.link(source)
    assert link is not None
    soft = link.soft
    assert soft is not None
    if hard.is_floating_point():  # from an integer or a mask
        return tape.emit(straight(soft.to(hard.dtype), hard), scores=link.scores, mask=link.mask)
    if hard.dtype == torch.bool and source.is_floating_point():
        return tape.mark(hard, sloped(soft, hard, step_slope(soft)), mask=True)
    soft = _STAIRS * soft if source.is_floating_point() else soft
    marks = {"choice": link.choice, "scores": link.scores, "mask": link.mask}
    return tape.mark(hard, straight(soft, hard), **marks)


_CASTS = {
    "int": torch.int32,
    "long": torch.int64,
    "short": torch.int16,
    "char": torch.int8,
    "byte": torch.uint8,
    "bool": torch.bool,
    "float": torch.float32,
    "double": torch.float64,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
}


# Saturation ----------------------------------------------------------------------------------


def _clamp_effect(tape: Twins, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]) or call.argument(1, "min") is None:
        return None
    if call.argument(2, "max") is None:
        return None
    return "flattens" if bool(mostly(call.args[0] != call.hard()).any()) else None


def _clamp(tape: Twins, call: Call) -> Any:
    """Where most of an image is clamped, straight; else as it is."""
    x, hard = tape.soft(call.args[0]), call.hard()
    inside = (x == hard) | mostly(x != hard)
    return tape.emit(sloped(x, hard, inside.to(x.dtype)))


def _slope(name: str, y: torch.Tensor) -> torch.Tensor:
    return y * (1 - y) if name == "sigmoid" else 1 - y * y


def _vanished(name: str, y: torch.Tensor) -> torch.Tensor:
    return mostly(_slope(name, y) < _VANISHED * (0.25 if name == "sigmoid" else 1))


def _sigmoid_effect(tape: Twins, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]):
        return None
    return "flattens" if bool(_vanished(call.name, call.hard()).any()) else None


def _sigmoid(tape: Twins, call: Call) -> Any:
    x, hard = tape.soft(call.args[0]), call.hard().detach()
    slope = torch.where(_vanished(call.name, hard), step_slope(x), _slope(call.name, hard))
    return tape.emit(sloped(x, hard, slope))


def _saturated(out: torch.Tensor, dim: int) -> torch.Tensor:
    return mostly(out.detach().amax(dim, keepdim=True) > 1 - _VANISHED**2)


def _softmax_dim(call: Call) -> int:
    dim = call.argument(1, "dim")
    return -1 if dim is None else int(dim)


def _softmax_effect(tape: Twins, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]):
        return None
    return "flattens" if bool(_saturated(call.hard(), _softmax_dim(call)).any()) else None


def _softmax(tape: Twins, call: Call) -> Any:
    x, dim, hard = tape.soft(call.args[0]), _softmax_dim(call), call.hard()
    own = call.func(x, *call.args[1:], **call.kwargs)
    soft = torch.where(_saturated(hard, dim), tempered(x, dim).to(hard.dtype), own)
    return tape.emit(straight(soft, hard))


# Slopes that may be infinite -----------------------------------------------------------------


def _steep_effect(tape: Twins, call: Call) -> Treatment | None:
    """Only where an entry sits where the slope is not finite."""
    x = call.args[0]
    if not tape.live(x):
        return None
    if call.name == "pow":
        exponent = call.argument(1, "exponent")
        if not isinstance(exponent, (int, float)) or exponent >= 1:
            return None
    edge = x.abs() >= 1 if call.name in ("acos", "asin") else x == 0
    return "replaces" if bool(edge.any()) else None


def _steep(tape: Twins, call: Call) -> Any:
    args = [finite(tape.soft(v)) if tape.live(v) else v for v in call.args]
    return tape.emit(call.func(*args, **call.kwargs))


def _leaving(tape: Twins, call: Call) -> Any:
    link = tape.link(call.args[0])
    assert link is not None
    assert link.soft is not None
    tape.departures.left(link.soft, link.scores, tape.sites)
    return call.hard()


def _sampled(tape: Twins, call: Call) -> Any:
    """A coin with the probability x: its expectation is x."""
    return tape.result(call.hard(), tape.soft(call.args[0]))


RULES: dict[str, Entry] = {
    **entries(
        "round floor ceil trunc fix quantize_per_tensor quantize_per_channel"
        " fake_quantize_per_tensor_affine fake_quantize_per_channel_affine",
        _first_live("flattens"),
        _staircase,
    ),
    **entries("sign sgn heaviside", _first_live("flattens"), _step),
    **entries("__floordiv__ __rfloordiv__ floor_divide", _any_live("flattens"), _quotient),
    **entries("div divide __div__ true_divide", _rounds, _quotient),
    **entries("remainder fmod frac __mod__", _first_live("flattens"), _remainder),
    **entries("detach data", _first_live("cuts"), _alias),
    **entries("tensor as_tensor __deepcopy__", _first_live("cuts"), _same),
    **entries(" ".join([*_CASTS, "to", "_to_copy", "type", "type_as"]), _cast_effect, _cast),
    **entries("clamp clip hardtanh", _clamp_effect, _clamp),
    **entries("sigmoid tanh", _sigmoid_effect, _sigmoid),
    **entries("softmax", _softmax_effect, _softmax),
    **entries("sqrt rsqrt pow log acos asin", _steep_effect, _steep),
    **entries("numpy tolist __array__", _first_live("leaves torch"), _leaving),
    **entries("bernoulli", _first_live("cuts"), _sampled),
    **MASK_RULES,
    **CHOICE_RULES,
}
