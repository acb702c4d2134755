"""Texts of users, files and exceptions as they can be shown, commanding nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

_T = TypeVar("_T")

# Control characters command terminals and corrupt typesetting, and bidirectional overrides can make
# one text look like another. What Python makes of bytes that are no UTF-8 cannot be written at all.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Deeper than the names of the details of an error are indented.
_HANGING = " " * 12


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a path that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def printable(text: str) -> str:
    """`text` with everything written out that would command what shows it; lines and tabs stay."""
    return _UNPRINTABLE.sub(_escaped, text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The same, with its ends of lines written out too."""
    return printable(text).replace("\n", "\\n")


def hanging(text: str) -> str:
    """`text` with its further lines indented: none of them can look like a line of ours."""
    first, *further = text.split("\n")
    return "\n".join([first, *(_HANGING + line.removeprefix(_HANGING) for line in further)])


def encodable(value: _T) -> _T:
    """Plain data, dataclasses included, with no text in it that UTF-8 has no place for."""
    return with_texts(value, lambda text: _SURROGATE.sub(_escaped, text))


def with_texts(value: _T, change: Callable[[str], str]) -> _T:
    """Plain data, dataclasses included, with every text changed that is not of ASCII alone."""
    made: Any = value
    if isinstance(value, str):
        made = value if value.isascii() else change(value)
    elif isinstance(value, dict):
        made = {with_texts(key, change): with_texts(one, change) for key, one in value.items()}
    elif isinstance(value, (list, tuple)):
        made = type(value)(with_texts(one, change) for one in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        changed = {name: with_texts(getattr(value, name), change) for name in names}
        made = dataclasses.replace(value, **changed)
    return cast(_T, made)
