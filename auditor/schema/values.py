"""The values of audit.toml: what one has to be, in types and in words."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import (
    BeforeValidator,
    FiniteFloat,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError

from auditor.parameters import PositiveInt, parse_number


@dataclass(frozen=True)
class Expects:
    """What a value has to be, in words, where its type alone says too little.

    `remedy` sees the wrong value, and says what was probably meant, or nothing.
    """

    text: str
    remedy: Callable[[Any], str] = lambda given: ""


class OrAlone:
    """Marks a list of tables: one alone may stand in its place, as [model] does for [[model]]."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        several = handler(core)
        return {"anyOf": [several, *several["items"].get("anyOf", [several["items"]])]}


class OrLeftOut:
    """Marks a key that may be left out, and that the configuration has a value for all the same."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        given = handler(core)
        return {"anyOf": [*given.get("anyOf", [given]), {"type": "null"}]}


#: The default of a key that is `OrLeftOut`: there until the configuration is resolved.
LEFT_OUT: Any = None


@dataclass(frozen=True)
class Epsilon:
    """The size of a perturbation in pixel space, and how its author wrote it."""

    value: float
    text: str

    @classmethod
    def of(cls, length: float | str) -> Epsilon:
        """What is written as a `Length`.

        Raises:
            ValueError: it is neither a number nor a fraction.
        """
        text = length if isinstance(length, str) else repr(length)
        return cls(float(parse_number(length)), text)

    @property
    def fraction(self) -> Fraction:
        """The exact value, for comparison."""
        return Fraction(self.text.replace(" ", ""))


def _as_callable(given: Any) -> str:
    """What is missing from the name of a callable."""
    if not isinstance(given, str):
        return ""
    file, _, name = given.partition(":")
    if file.endswith(".py"):
        return f'add what is to be called: "{file}:NAME"'
    return f'a file is named with its ending: "{file}.py:{name or "NAME"}"' if "/" in file else ""


def as_fraction(given: Any) -> str:
    """What to write for a number that seems to be a percentage."""
    """A percentage as a number from 0 to 1."""
    text = str(given).strip()
    if not re.fullmatch(r"\d+(\.\d+)?( ?%)?", text):
        return ""
    percent = float(text.rstrip(" %"))
    return f"for {percent:g} % write {percent / 100:g}" if 2 <= percent <= 100 else ""


def _as_date(given: Any) -> str:
    return f"without quotes: {given}" if re.fullmatch(r"\d{4}-\d\d-\d\d", str(given)) else ""


def _as_device(given: Any) -> str:
    return 'did you mean "cuda"?' if str(given).lower().startswith("gpu") else ""


#: Letters that a name or a title may have, and a paragraph.
_NAME, _PARAGRAPH = 500, 5_000


def _shorter(given: Any, limit: int) -> str:
    """What to do about a text that no page has room for."""
    if not isinstance(given, str) or len(given) <= limit:
        return ""
    return f"it has {len(given):,} letters: shorten it to {limit:,}"


_DURATION = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def _seconds(text: Any) -> float | None:
    """A length of time such as "1h30m" in seconds; None for what is none."""
    if not isinstance(text, str) or not re.fullmatch(_DURATION, text, re.ASCII):
        return None
    parts = re.findall(r"(\d+)([hms])", text)
    return float(sum(int(count) * _SECONDS[unit] for count, unit in parts))


def _as_seconds(given: Any) -> float:
    seconds = _seconds(given)
    if not seconds:
        raise PydanticCustomError("duration", "not a length of time > 0")
    return seconds


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_NAME, pattern=r"^[^\n]*$"),
    Expects("text in quotes, on one line", lambda given: _shorter(given, _NAME)),
]
LongText = Annotated[
    str,
    StringConstraints(max_length=_PARAGRAPH),
    Expects("text in quotes", lambda given: _shorter(given, _PARAGRAPH)),
]
PathText = Annotated[str, StringConstraints(min_length=1), Expects("a path in quotes")]
CallableText = Annotated[
    str,
    StringConstraints(pattern=r"^(.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*(\.[^\W\d]\w*)*$"),
    Expects('"file.py:callable" or "package.module:callable"', _as_callable),
]
Number = Annotated[FiniteFloat, Expects("a finite number")]
Fraction01 = Annotated[float, Ge(0), Le(1), Expects("a number from 0 to 1", as_fraction)]
Limit = Annotated[
    FiniteFloat, Expects("a number; from 0 to 1 where it is of an accuracy", as_fraction)
]
SampleCount = Annotated[PositiveInt, Expects("an integer > 0; leave the key out for all images")]
Day = Annotated[datetime.date, Expects("a date without quotes, such as 2027-03-31", _as_date)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Device = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+|mps)$"),
    Expects('"auto", "cpu", "cuda", "cuda:1" (or another index), or "mps"', _as_device),
]
#: In seconds.
Duration = Annotated[
    float,
    BeforeValidator(_as_seconds),
    PlainSerializer(lambda seconds: f"{seconds:.0f}s"),
    WithJsonSchema({"type": "string", "pattern": _DURATION}),
    Expects(
        'a length of time > 0 as text, such as "90s", "30m", "2h" or "1h30m"',
        lambda given: "leave the key out for no limit" if _seconds(given) == 0 else "",
    ),
]
Executor = Annotated[Literal["local", "ray"], Expects('"local"')]
Length = Annotated[
    int | float | str, Expects('a number > 0, or a fraction as text such as "8/255"')
]
Lengths = Annotated[
    Length | list[Length],
    Expects('a number > 0, a fraction as text such as "8/255", or a list of these'),
]
Argument = Annotated[
    JsonValue, Expects("text, a number, true or false, or a list or table of these")
]
Arguments = Annotated[dict[str, Argument], Expects("a table of arguments for the factory")]
MaskingLimit = Literal["none", "possible", "suspected", "confirmed"]
