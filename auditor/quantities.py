"""Numbers as people write them: 0.03, "8/255"."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from annotated_types import Ge, Gt
from pydantic import BeforeValidator


def parse_number(value: Any) -> Any:
    """The float that `value` means if it is text such as "8/255" or "0.1"; else `value` itself.

    Raises:
        ValueError: the text is not a number or a fraction.
    """
    if not isinstance(value, str):
        return value
    try:
        return float(Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is neither a number nor a fraction such as '8/255'") from None


def number_text(value: float | str) -> str:
    """The number as its author wrote it, for people to read."""
    return value if isinstance(value, str) else f"{value:g}"


PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
#: A positive length in pixel space; a fraction such as "2/255" is welcome.
PixelLength = Annotated[float, BeforeValidator(parse_number), Gt(0)]
