"""Comparisons and masks: hard values, soft borders.

Beside values that have a gradient of their own a mask is a constant (so that a ReLU written with
a comparison stays what it is); between constants it carries the gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from auditor.surrogate.links import Entry, entries
from auditor.surrogate.sites import Treatment
from auditor.surrogate.soft import sloped, step_slope

if TYPE_CHECKING:
    from auditor.surrogate.links import Call
    from auditor.surrogate.tape import Tape


def _any(tape: Tape, call: Call) -> Treatment | None:
    return "cuts"


def _quiet(tape: Tape, call: Call) -> Treatment | None:
    return "quiet"


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
    mask = call.args[0]
    if len(call.args) < 3 or mask.dtype != torch.bool or not tape.live(mask):
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
    **entries("mul multiply", _masked_product, _product),
}
