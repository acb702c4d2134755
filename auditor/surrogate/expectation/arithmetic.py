"""What is known of a random tensor after it is reshaped, cast, shifted or scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from auditor.surrogate.expectation.laws import Book, Chance, Known, Law, Number

#: A tensor and what is known of it; None: the function is carried out as it is.
Answer: TypeAlias = "tuple[torch.Tensor, Known | None] | None"
#: Called with the book, the function's name, the function, its arguments and keyword arguments.
Rule: TypeAlias = Callable[[Book, str, Any, Any, Any], Answer]

_SHAPES = (
    "view reshape expand expand_as view_as reshape_as unsqueeze squeeze __getitem__ clone detach"
    " contiguous flatten permute transpose movedim repeat cpu cuda"
)
_CASTS = "to type type_as float double half bfloat16 int long bool"


def rules(names: str, rule: Rule) -> dict[str, Rule]:
    """The same for several functions, by their names."""
    return dict.fromkeys(names.split(), rule)


# Shapes and types ----------------------------------------------------------------------------


def _shaped(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """The same in another shape."""
    known, first = book.of(args[0]), args[0]
    if known is None:
        return None

    def change(number: Number) -> Number:
        if not isinstance(number, torch.Tensor):
            return number
        changed: torch.Tensor = func(number.expand(first.shape), *args[1:], **kwargs)
        return changed

    out = func(*args, **kwargs)
    if isinstance(known, Chance):
        p = change(known.p)
        assert isinstance(p, torch.Tensor)
        return out, Chance(p)
    return out, Law(known.kind, change(known.shift), change(known.scale))


def _cast(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """Masks as numbers are their chances."""
    known, out = book.of(args[0]), func(*args, **kwargs)
    if known is None:
        return None
    if isinstance(known, Law):
        return out, known if out.is_floating_point() else None
    if out.is_floating_point():
        p = known.p.to(out.dtype)
        return p, Chance(p)
    return (known.p >= 0.5).to(out.dtype), known


def _joined(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """Laws that differ in their shifts alone."""
    laws = [book.of(part) for part in args[0]]
    first = laws[0]
    if not isinstance(first, Law) or not isinstance(first.scale, float):
        return None
    shifts = []
    for law, part in zip(laws, args[0], strict=True):
        if not isinstance(law, Law) or (law.kind, law.scale) != (first.kind, first.scale):
            return None
        shift = law.shift.expand(part.shape) if isinstance(law.shift, torch.Tensor) else law.shift
        shifts.append(shift if isinstance(shift, torch.Tensor) else torch.full_like(part, shift))
    shift = func(shifts, *args[1:], **kwargs)
    return func(*args, **kwargs), Law(first.kind, shift, first.scale)


def _reduced(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """How many of a mask's entries are true, in the mean."""
    known = book.of(args[0])
    return (func(known.p, *args[1:], **kwargs), None) if isinstance(known, Chance) else None


# Arithmetic ----------------------------------------------------------------------------------


def _sum(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    first, second = book.of(args[0]), book.of(args[1])
    if isinstance(first, Chance) or isinstance(second, Chance):
        return func(*map(book.valued, args), **kwargs), None
    if "alpha" in kwargs:
        return None
    out = func(*args, **kwargs)
    if first is not None and second is not None:
        return out, None
    law, other = (first, args[1]) if first is not None else (second, args[0])
    assert law is not None
    return out, law.plus(other)


def _difference(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    pair = args[1::-1] if name in ("__rsub__", "rsub") else args
    first, second = book.of(pair[0]), book.of(pair[1])
    if isinstance(first, Chance) or isinstance(second, Chance):
        return _without_mask(book, pair) or (func(*map(book.valued, args), **kwargs), None)
    if "alpha" in kwargs:
        return None
    out = func(*args, **kwargs)
    if first is not None and second is not None:
        return out, first.minus(second)
    if first is not None:
        return out, first.plus(-pair[1])
    assert second is not None
    return out, second.times(-1.0).plus(pair[0])


def _without_mask(book: Book, pair: tuple[Any, ...]) -> Answer:
    """1 - m is the opposite of m."""
    known = book.of(pair[1])
    if isinstance(known, Chance) and not isinstance(pair[0], torch.Tensor) and pair[0] == 1:
        return 1 - known.p, known.negated()
    return None


def _product(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    first, second = book.of(args[0]), book.of(args[1])
    if isinstance(first, Law) and isinstance(second, Law):
        return None
    out = func(*map(book.valued, args))
    if isinstance(first, Chance) and isinstance(second, Chance):
        return out, Chance(out)
    if isinstance(first, Chance) or isinstance(second, Chance):
        return out, None
    law, other = (first, args[1]) if first is not None else (second, args[0])
    assert law is not None
    return out, law.times(other)


def _quotient(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law, other = book.of(args[0]), args[1]
    if not isinstance(law, Law) or book.of(other) is not None or kwargs:
        return None
    return func(*args), law.times(1 / other)


def _negative(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    return (func(*args), law.times(-1.0)) if isinstance(law, Law) else None


def _logarithm(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    if not isinstance(law, Law):
        return None
    return func(*args, **kwargs), (law.plus(1.0) if name == "log1p" else law).logarithm()


def _logit(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    law = book.of(args[0])
    if not isinstance(law, Law) or law.kind != "uniform" or not law.plain:
        return None
    return func(*args, **kwargs), Law("logistic")


def _kept(book: Book, name: str, func: Any, args: Any, kwargs: Any) -> Answer:
    """Clamped, which noise is against infinite logarithms."""
    law = book.of(args[0])
    return (func(*args, **kwargs), law) if isinstance(law, Law) else None


ARITHMETIC: dict[str, Rule] = {
    **rules(_SHAPES, _shaped),
    **rules(_CASTS, _cast),
    **rules("stack cat", _joined),
    **rules("sum mean", _reduced),
    **rules("add __add__ __radd__", _sum),
    **rules("sub subtract __sub__ __rsub__ rsub", _difference),
    **rules("mul multiply __mul__ __rmul__", _product),
    **rules("div divide true_divide __truediv__", _quotient),
    **rules("neg negative __neg__", _negative),
    **rules("log log1p", _logarithm),
    **rules("logit", _logit),
    **rules("clamp clamp_min clamp_max clip", _kept),
}
