"""What becomes of random tensors where randomness is replaced by its expectation.

Sums, multiples and logarithms of a law have a law again. What is asked of one (is it larger than
this, which of these is chosen) is answered by chances, and where a mask that has a chance selects
among values, by their mean.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from auditor.surrogate.expectation.arithmetic import ARITHMETIC, Answer, Rule, rules
from auditor.surrogate.expectation.laws import Book, Chance, Law
from auditor.surrogate.repair.links import REFUSALS

#: Noise that spreads over at least this part of a step makes stairs a slope.
_SPREAD = 0.5
_ROUNDED = {"floor": -0.5, "ceil": 0.5, "round": 0.0}
_FLIPPED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge", "eq": "eq", "ne": "ne"}
_LONG = {"greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"}


def answer(
    book: Book, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Answer:
    """What the function `name` returns, at least one of whose arguments is in the book.

    None where nothing better is known than to carry it out on the means.
    """
    rule = _RULES.get(name)
    try:
        return None if rule is None else rule(book, name, func, args, kwargs)
    except (*REFUSALS, ValueError):
        return None


def _mean(law: Law, like: torch.Tensor) -> torch.Tensor:
    mean = law.mean
    return (
        mean.expand(like.shape) if isinstance(mean, torch.Tensor) else torch.full_like(like, mean)
    )


def _mask(p: torch.Tensor) -> Answer:
    return p >= 0.5, Chance(p)


# Questions -----------------------------------------------------------------------------------


def _compared(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """Which is larger: how likely it is."""
    sign = _LONG.get(name, name.strip("_"))
    first, second = args[:2]
    if book.of(first) is None:
        first, second, sign = second, first, _FLIPPED[sign]
    known, other = book.of(first), book.of(second)
    if isinstance(known, Chance):
        return _is_one(known, sign, second) if other is None else None
    if sign in ("eq", "ne") or isinstance(other, Chance) or known is None:
        return None
    law, limit = (known, second) if other is None else (known.minus(other), 0.0)
    if law is None:
        return None
    random: torch.Tensor = first
    above = law.above(limit).to(random).expand(func(*args, **kwargs).shape)
    return _mask(above if sign in ("gt", "ge") else 1 - above)


def _is_one(known: Chance, sign: str, limit: Any) -> Answer:
    """A 0 or 1 against a number: is it the one or the other?"""
    if isinstance(limit, torch.Tensor):
        return None
    test = {"gt": lambda v: v > limit, "ge": lambda v: v >= limit, "lt": lambda v: v < limit,
            "le": lambda v: v <= limit, "eq": lambda v: v == limit,
            "ne": lambda v: v != limit}  # fmt: skip
    zero, one = test[sign](0), test[sign](1)
    if zero == one:
        return None
    return _mask(known.p if one else 1 - known.p)


def _sigmoid(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    if not isinstance(law, Law):
        return None
    law = law.times(2.0) if name == "tanh" else law
    p = torch.sigmoid(_mean(law, args[0]) / law.damping())
    return (2 * p - 1 if name == "tanh" else p), None


def _softmax(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    if not isinstance(law, Law):
        return None
    return func(_mean(law, args[0]) / law.damping(2), *args[1:], **kwargs), None


def _sign(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    return (2 * law.above(0.0) - 1, None) if isinstance(law, Law) else None


def _rounded(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """Rounded at random, a number is itself in the mean."""
    law = book.of(args[0])
    if not isinstance(law, Law) or not isinstance(law.scale, float) or kwargs or len(args) > 1:
        return None
    variance = law.variance
    if isinstance(variance, torch.Tensor) or math.sqrt(12 * variance) < _SPREAD:
        return None
    return _mean(law, args[0]) + _ROUNDED[name], None


# Masks ---------------------------------------------------------------------------------------


def _not(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    known = book.of(args[0])
    return _mask(1 - known.p) if isinstance(known, Chance) else None


def _logic(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """and, or: as if of independent masks."""
    known = [book.of(value) for value in args[:2]]
    if any(isinstance(one, Law) for one in known):
        return None
    p, q = (one.p if isinstance(one, Chance) else value.to(torch.get_default_dtype())
            for one, value in zip(known, args, strict=False))  # fmt: skip
    return _mask(p * q if "and" in name else p + q - p * q)


def _finite(*values: Any) -> bool:
    return all(
        bool(torch.as_tensor(value).isfinite().all())
        for value in values
        if not isinstance(value, torch.Tensor) or value.numel() == 1
    )


def _where(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    if len(args) < 3:
        return None
    mask, first, second = args if book.of(args[0]) is not None else (args[1], args[0], args[2])
    known = book.of(mask)
    if not isinstance(known, Chance) or not _finite(first, second):
        return None
    return known.p * first + (1 - known.p) * second, None


def _filled(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """masked_fill, and x[mask] = value."""
    mask, value = (*args[1:], *kwargs.values())[:2]
    known = book.of(mask)
    scalar = not isinstance(value, torch.Tensor) or value.numel() == 1
    if not isinstance(known, Chance) or not scalar or not _finite(value):
        return None
    return known.p * value + (1 - known.p) * args[0], None


_RULES: dict[str, Rule] = {
    **ARITHMETIC,
    **rules("gt ge lt le eq ne greater greater_equal less less_equal", _compared),
    **rules("__gt__ __ge__ __lt__ __le__ __eq__ __ne__", _compared),
    **rules("sigmoid tanh", _sigmoid),
    **rules("softmax", _softmax),
    **rules("sign sgn", _sign),
    **rules("floor ceil round", _rounded),
    **rules("__invert__ logical_not bitwise_not", _not),
    **rules("__and__ __rand__ logical_and bitwise_and", _logic),
    **rules("__or__ __ror__ logical_or bitwise_or", _logic),
    **rules("where", _where),
    **rules("masked_fill __setitem__", _filled),
}
