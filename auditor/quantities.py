"""Numbers as people write them: 0.03, "8/255"."""

from __future__ import annotations

import math
from typing import Annotated, Any

from annotated_types import Ge, Gt
from pydantic import AllowInfNan, BeforeValidator


def parse_number(value: Any) -> Any:
    """The float that `value` means if it is text such as "8/255" or "0.1"; else `value` itself.

    Raises:
        ValueError: the text is not a number or a fraction.
    """
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        number = float(numerator) / float(denominator) if slash else float(value)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is neither a number nor a fraction such as '8/255'")
    return number


PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
#: A positive length in pixel space; a fraction such as "2/255" is welcome.
PixelLength = Annotated[float, BeforeValidator(parse_number), Gt(0), AllowInfNan(False)]
