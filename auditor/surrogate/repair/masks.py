"""Comparisons and masks: hard values, soft borders.

Beside values that have a gradient of their own a mask is a constant (so that a ReLU written with
a comparison stays what it is); between constants it carries the gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from auditor.surrogate.repair.links import Call
from auditor.surrogate.repair.soft import sloped, step_slope
from auditor.surrogate.repair.twins import Entry, Twins, entries
from auditor.surrogate.sites import Treatment

#: How many kept values it takes to tell whether there is a jump, ...
_ENOUGH = 200
#: ... and how near the nearest must at least come to what replaces the others, in medians.
_JUMP = 0.1


def _any(tape: Twins, call: Call) -> Treatment | None:
    return "cuts"


def _quiet(tape: Twins, call: Call) -> Treatment | None:
    return "quiet"


def _comparison(tape: Twins, call: Call) -> Any:
    x, y = tape.soft(call.args[0]), tape.soft(call.argument(1, "other"))
    hard = call.hard()
    u = (x - y if call.name in ("gt", "ge", "greater", "greater_equal") else y - x).expand(
        hard.shape
    )
    return tape.mark(hard, sloped(u, hard, step_slope(u)), mask=True)


def _logic(tape: Twins, call: Call) -> Any:
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


def _not(tape: Twins, call: Call) -> Any:
    hard, soft = call.hard(), tape.soft(call.args[0])
    return tape.result(hard, 1 - soft, mask=hard.dtype == torch.bool)


def _shift(tape: Twins, call: Call) -> Any:
    hard, count = call.hard(), call.args[1]
    power = 2.0 ** (count if isinstance(count, int) else count.to(torch.float64))
    factor = power if "lshift" in call.name or "left" in call.name else 1 / power
    return tape.result(hard, tape.soft(call.args[0]) * factor)


def _jumps(x: torch.Tensor, rest: Any, kept: torch.Tensor) -> bool:
    """Whether x is cut off with a jump: where it is kept it is never near what it is replaced by.

    ReLU has no jump: kept values reach down to the 0 that replaces the others.
    """
    with torch.no_grad():
        gap = (x - rest).abs()[kept]
        return len(gap) >= _ENOUGH and bool(gap.amin() > _JUMP * gap.median())


def _branch(tape: Twins, x: Any, rest: Any, mask: torch.Tensor) -> Treatment | None:
    """Live values x beside constants: an honest mask, unless there is a jump."""
    live = tape.live(x) and not tape.live(rest) and x.is_floating_point()
    if not live or mask.shape != x.shape:
        return "quiet"
    return "flattens" if _jumps(x, rest, mask) else "quiet"


def _where_effect(tape: Twins, call: Call) -> Treatment | None:
    mask = call.args[0]
    if len(call.args) < 3 or mask.dtype != torch.bool or not tape.live(mask):
        return None
    first, second = call.args[1:]
    if tape.live(first) and tape.live(second):
        return None
    if tape.live(first):
        found = _branch(tape, first, second, mask)
    else:
        found = _branch(tape, second, first, ~mask) if tape.live(second) else "quiet"
    return found if found == "flattens" or not (tape.live(first) or tape.live(second)) else None


def _where(tape: Twins, call: Call) -> Any:
    """Between constants the mask carries the gradient; with a jump, the live values do."""
    mask, first, second = call.args
    for value in (first, second):
        if tape.live(value):
            return tape.result(call.hard(), tape.soft(value))
    soft = tape.soft(mask)
    return tape.result(call.hard(), soft * first + (1 - soft) * second)


def _filled_effect(tape: Twins, call: Call) -> Treatment | None:
    mask, x = call.argument(1, "mask"), call.args[0]
    dense = isinstance(mask, torch.Tensor) and mask.dtype == torch.bool
    value = call.argument(2, "value")
    plain = not isinstance(value, torch.Tensor) or value.numel() == 1
    if not dense or not plain or not tape.live(mask) or mask.dim() != x.dim():
        return None
    if tape.live(x):
        return "flattens" if _branch(tape, x, value, ~mask) == "flattens" else None
    return "quiet"


def _filled(tape: Twins, call: Call) -> Any:
    x, mask, value = call.args[0], call.argument(1, "mask"), call.argument(2, "value")
    hard = torch.where(mask, torch.as_tensor(value, dtype=x.dtype, device=x.device), x)
    if tape.live(x):
        return tape.result(hard, tape.soft(x))
    soft, kept = tape.soft(mask), x.clone()  # x itself may be about to be written to
    return tape.result(hard, soft * value + (1 - soft) * kept)


def _parts(tape: Twins, call: Call) -> tuple[Any, Any] | None:
    """The mask and the live values of a product of the two."""
    if len(call.args) < 2:
        return None
    links = [tape.link(v) if isinstance(v, torch.Tensor) else None for v in call.args[:2]]
    if not all(link is not None and link.live for link in links):
        return None
    first, second = (link is not None and link.mask for link in links)
    if first == second:
        return None
    return call.args[:2] if first else (call.args[1], call.args[0])


def _product_effect(tape: Twins, call: Call) -> Treatment | None:
    parts = _parts(tape, call)
    return None if parts is None else _branch(tape, parts[1], 0, parts[0] != 0)


def _product(tape: Twins, call: Call) -> Any:
    """A mask times live values: the mask is a constant in it; with a jump, it is passed by."""
    parts = _parts(tape, call)
    assert parts is not None
    mask, x = parts
    if _branch(tape, x, 0, mask != 0) == "flattens":
        return tape.result(call.hard(), tape.soft(x))
    return tape.emit(mask * tape.soft(x))


MASK_RULES: dict[str, Entry] = {
    **entries("gt ge lt le greater greater_equal less less_equal", _any, _comparison),
    **entries(
        "__and__ __or__ __xor__ __rand__ __ror__ __rxor__ logical_and logical_or logical_xor"
        " bitwise_and bitwise_or bitwise_xor",
        _quiet,
        _logic,
    ),
    **entries("__invert__ logical_not bitwise_not", _quiet, _not),
    **entries(
        "__lshift__ __rshift__ bitwise_left_shift bitwise_right_shift",
        _quiet,
        _shift,
    ),
    **entries("where", _where_effect, _where),
    **entries("masked_fill __setitem__", _filled_effect, _filled),
    **entries("mul multiply", _product_effect, _product),
}
