"""What each operation without an honest gradient is given instead.

Source: Athalye et al. 2018, arXiv:1802.00420, section 4.1; the soft choices are the usual
relaxations (softmax for argmax, its expectation for a table that is looked up in).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from auditor.surrogate.choices import CHOICE_RULES
from auditor.surrogate.sites import Treatment
from auditor.surrogate.soft import finite, sloped, step_slope, straight, tempered

if TYPE_CHECKING:
    from auditor.surrogate.tape import Call, Tape

#: The slope of a staircase. Below 1, so that x - floor(x) keeps a gradient.
_STAIRS = 0.75
#: The slope of what a division leaves, so that x - x % 1 keeps one too.
_REMAINDER = 0.5
#: A slope below this share of its largest has vanished.
_VANISHED = 0.01


@dataclass(frozen=True)
class Rule:
    """`effect` says what the operation does to the gradient here, None if nothing bad."""

    effect: Callable[[Tape, Call], Treatment | None]
    repair: Callable[[Tape, Call], Any]


def _first_live(effect: Treatment) -> Callable[[Tape, Call], Treatment | None]:
    return lambda tape, call: effect if tape.live(call.args[0]) else None


def _any_live(effect: Treatment) -> Callable[[Tape, Call], Treatment | None]:
    return lambda tape, call: effect


# Staircases, casts, detached tensors ---------------------------------------------------------


def _staircase(tape: Tape, call: Call) -> Any:
    return tape.result(call.hard(), _STAIRS * tape.soft(call.args[0]))


def _step(tape: Tape, call: Call) -> Any:
    x = tape.soft(call.args[0])
    return tape.emit(sloped(x, call.hard(), step_slope(x)))


def _quotient(tape: Tape, call: Call) -> Any:
    first, second = (tape.soft(call.argument(i, n)) for i, n in enumerate(("input", "other")))
    if call.name == "__rfloordiv__":
        first, second = second, first
    return tape.result(call.hard(), _STAIRS * torch.true_divide(first, second))


def _rounds(tape: Tape, call: Call) -> Treatment | None:
    return "flattens" if call.kwargs.get("rounding_mode") else None


def _remainder(tape: Tape, call: Call) -> Any:
    hard = call.hard()
    return tape.result(hard, (_REMAINDER * tape.soft(call.args[0])).expand(hard.shape))


def _same(tape: Tape, call: Call) -> Any:
    """The operation hides where its result comes from, and changes no value."""
    hard, link = call.hard(), tape.link(call.args[0])
    assert link is not None
    assert link.soft is not None
    if hard.is_floating_point():
        return tape.emit(straight(link.soft, hard), scores=link.scores, mask=link.mask)
    return tape.mark(hard, link.soft, choice=link.choice, mask=link.mask)


def _alias(tape: Tape, call: Call) -> Any:
    """detach and .data: a view, so that what is written to one is seen in the other."""
    source = call.args[0]
    link = tape.link(source)
    assert link is not None
    assert link.soft is not None
    if not source.is_floating_point() or source.requires_grad:
        return tape.mark(call.hard(), link.soft, choice=link.choice, mask=link.mask)
    return tape.emit(link.soft.view_as(link.soft), scores=link.scores, mask=link.mask)


def _cast_effect(tape: Tape, call: Call) -> Treatment | None:
    source = call.args[0]
    if not isinstance(source, torch.Tensor) or not tape.live(source):
        return None
    if not source.is_floating_point():
        return "quiet" if _target_type(call) is not None else None
    kind = _target_type(call)
    return "cuts" if kind is not None and not kind.is_floating_point else None


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


def _cast(tape: Tape, call: Call) -> Any:
    hard, source = call.hard(), call.args[0]
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


# Comparisons and masks -----------------------------------------------------------------------


def _comparison(tape: Tape, call: Call) -> Any:
    x, y = tape.soft(call.args[0]), tape.soft(call.argument(1, "other"))
    hard = call.hard()
    u = (x - y if call.name in ("gt", "ge", "greater", "greater_equal") else y - x).expand(
        hard.shape
    )
    return tape.mark(hard, sloped(u, hard, step_slope(u)), mask=True)


def _logic(tape: Tape, call: Call) -> Any:
    """and, or, xor of masks; on integers the identity (a quantiser by its bits)."""
    hard = call.hard()
    softs = [tape.soft(value) for value in call.args[:2]]
    if hard.dtype == torch.bool:
        a, b = (s.to(torch.get_default_dtype()) if s.dtype == torch.bool else s for s in softs)
        kind = call.name.replace("logical_", "").replace("bitwise_", "").strip("_").lstrip("r")
        both = a * b
        soft = both if kind == "and" else a + b - (1 if kind == "or" else 2) * both
        return tape.result(hard, soft, mask=True)
    live = next(s for s, value in zip(softs, call.args, strict=False) if tape.live(value))
    return tape.result(hard, live.expand(hard.shape))


def _not(tape: Tape, call: Call) -> Any:
    hard, soft = call.hard(), tape.soft(call.args[0])
    return tape.result(hard, 1 - soft, mask=hard.dtype == torch.bool)


def _shift(tape: Tape, call: Call) -> Any:
    hard, count = call.hard(), call.args[1]
    power = 2.0 ** (count if isinstance(count, int) else count.to(torch.float64))
    factor = power if "lshift" in call.name or "left" in call.name else 1 / power
    return tape.result(hard, tape.soft(call.args[0]) * factor)


def _where_effect(tape: Tape, call: Call) -> Treatment | None:
    """A mask between constants carries the gradient; beside live values it is a constant."""
    if len(call.args) < 3 or not tape.live(call.args[0]):
        return None
    return None if any(tape.live(value) for value in call.args[1:]) else "quiet"


def _where(tape: Tape, call: Call) -> Any:
    mask, first, second = call.args
    soft = tape.soft(mask)
    return tape.result(call.hard(), soft * first + (1 - soft) * second)


def _filled_effect(tape: Tape, call: Call) -> Treatment | None:
    mask = call.argument(1, "mask")
    dense = isinstance(mask, torch.Tensor) and mask.dtype == torch.bool
    if not dense or not tape.live(mask) or tape.live(call.args[0]):
        return None
    value = call.argument(2, "value")
    plain = not isinstance(value, torch.Tensor) or value.numel() == 1
    return "quiet" if plain and mask.dim() == call.args[0].dim() else None


def _filled(tape: Tape, call: Call) -> Any:
    x, mask, value = call.args[0], call.argument(1, "mask"), call.argument(2, "value")
    soft = tape.soft(mask)
    hard = torch.where(mask, torch.as_tensor(value, dtype=x.dtype, device=x.device), x)
    kept = tape.soft(x) if tape.live(x) else x.clone()  # x itself may be about to be written to
    return tape.result(hard, soft * value + (1 - soft) * kept)


def _masked_product(tape: Tape, call: Call) -> Treatment | None:
    """A mask times live values is an honest product: the mask is a constant in it."""
    links = [tape.link(v) for v in call.args[:2] if isinstance(v, torch.Tensor)]
    known = [link for link in links if link is not None and link.live]
    return "quiet" if len(known) == 2 and known[0].mask != known[1].mask else None


def _product(tape: Tape, call: Call) -> Any:
    softs = []
    for value in call.args[:2]:
        link = tape.link(value)
        assert link is not None
        softs.append(value if link.mask else link.soft)
    return tape.emit(call.func(*softs))


# Saturation ----------------------------------------------------------------------------------


def _mostly(bad: torch.Tensor) -> bool:
    return bool(bad.to(torch.float32).mean() > 0.5)


def _clamp_effect(tape: Tape, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]) or call.argument(1, "min") is None:
        return None
    if call.argument(2, "max") is None:
        return None
    return "flattens" if _mostly(call.args[0] != call.hard()) else None


def _clamp(tape: Tape, call: Call) -> Any:
    return tape.result(call.hard(), tape.soft(call.args[0]))


def _sigmoid_effect(tape: Tape, call: Call) -> Treatment | None:
    x = call.args[0]
    if not tape.live(x):
        return None
    hard = call.hard()
    slope = 4 * hard * (1 - hard) if call.name == "sigmoid" else 1 - hard * hard
    return "flattens" if _mostly(slope < _VANISHED) else None


def _sigmoid(tape: Tape, call: Call) -> Any:
    x = tape.soft(call.args[0])
    return tape.emit(sloped(x, call.hard(), step_slope(x)), scores=x)


def _softmax_effect(tape: Tape, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]):
        return None
    out = call.hard().detach()
    dim = call.argument(1, "dim")
    dim = -1 if dim is None else dim
    return "flattens" if _mostly(out.amax(dim) > 1 - _VANISHED**2) else None


def _softmax(tape: Tape, call: Call) -> Any:
    x, dim = tape.soft(call.args[0]), call.argument(1, "dim")
    soft = tempered(x, -1 if dim is None else dim)
    hard = call.hard()
    return tape.emit(straight(soft.to(hard.dtype), hard), scores=x)


# Slopes that may be infinite -----------------------------------------------------------------


def _steep_effect(tape: Tape, call: Call) -> Treatment | None:
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


def _steep(tape: Tape, call: Call) -> Any:
    args = [finite(tape.soft(v)) if tape.live(v) else v for v in call.args]
    return tape.emit(call.func(*args, **call.kwargs))


def _leaving(tape: Tape, call: Call) -> Any:
    soft = tape.soft(call.args[0])
    tape.departures.left(soft, tape.sites)
    return call.hard()


def _sampled(tape: Tape, call: Call) -> Any:
    """A coin with the probability x: its expectation is x."""
    return tape.result(call.hard(), tape.soft(call.args[0]))


def _group(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_group(
        "round floor ceil trunc fix quantize_per_tensor quantize_per_channel"
        " fake_quantize_per_tensor_affine fake_quantize_per_channel_affine",
        Rule(_first_live("flattens"), _staircase),
    ),
    **_group("sign sgn heaviside", Rule(_first_live("flattens"), _step)),
    **_group("__floordiv__ __rfloordiv__ floor_divide", Rule(_any_live("flattens"), _quotient)),
    **_group("div divide __div__ true_divide", Rule(_rounds, _quotient)),
    **_group("remainder fmod frac __mod__", Rule(_first_live("flattens"), _remainder)),
    **_group("detach data", Rule(_first_live("cuts"), _alias)),
    **_group("tensor as_tensor new_tensor __deepcopy__", Rule(_any_live("cuts"), _same)),
    **_group(" ".join([*_CASTS, "to", "type", "type_as"]), Rule(_cast_effect, _cast)),
    **_group(
        "gt ge lt le greater greater_equal less less_equal", Rule(_any_live("cuts"), _comparison)
    ),
    **_group(
        "__and__ __or__ __xor__ __rand__ __ror__ __rxor__ logical_and logical_or logical_xor"
        " bitwise_and bitwise_or bitwise_xor",
        Rule(_any_live("quiet"), _logic),
    ),
    **_group("__invert__ logical_not bitwise_not", Rule(_first_live("quiet"), _not)),
    **_group(
        "__lshift__ __rshift__ bitwise_left_shift bitwise_right_shift",
        Rule(_first_live("quiet"), _shift),
    ),
    **_group("where", Rule(_where_effect, _where)),
    **_group("masked_fill __setitem__", Rule(_filled_effect, _filled)),
    **_group("mul multiply", Rule(_masked_product, _product)),
    **_group("clamp clip hardtanh", Rule(_clamp_effect, _clamp)),
    **_group("sigmoid tanh", Rule(_sigmoid_effect, _sigmoid)),
    **_group("softmax", Rule(_softmax_effect, _softmax)),
    **_group("sqrt rsqrt pow log acos asin", Rule(_steep_effect, _steep)),
    **_group("numpy tolist __array__", Rule(_first_live("leaves torch"), _leaving)),
    **_group("bernoulli", Rule(_first_live("cuts"), _sampled)),
    **{name: Rule(effect, repair) for name, (effect, repair) in CHOICE_RULES.items()},
}
