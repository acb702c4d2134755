"""What no audit.toml has, refused before it is read: enormous files, nesting and numbers.

Readers of TOML, and everything behind them, would take minutes or end in an error of their own.
"""

from __future__ import annotations

import re
from typing import Any

#: The largest audit.toml seen has a few kilobytes.
MOST_BYTES = 256 * 1024
#: Levels of lists and tables in one another; an audit.toml has four.
MOST_LEVELS = 40
#: Characters of a number, or of a key without quotes.
MOST_CHARACTERS = 300

_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[{]"
    r"|[\]}]"
    r"|[A-Za-z0-9_+-]+",
    re.DOTALL,
)
_KEY = re.compile(r"([A-Za-z0-9_.\"'-]+)[ \t]*=")


class TooMuchError(ValueError):
    """The text holds more than any configuration; `at` is where it began to, a character."""

    def __init__(self, what: str, at: int) -> None:
        self.at = at
        super().__init__(what)


def check_text(text: str) -> None:
    """Refuse TOML that is nested too deep, or has too long a number; other faults are not seen.

    Raises:
        TooMuchError: it does.
    """
    level = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "[{":
            level += 1
            if level > MOST_LEVELS:
                raise TooMuchError(_too_deep(key_before(text, token.start())), token.start())
        elif first in "]}":
            level = max(0, level - 1)
        elif first not in "\"'#" and len(token[0]) > MOST_CHARACTERS:
            what = (
                f"A number or key of {len(token[0]):,} characters stands in "
                f"`{key_before(text, token.start())}`"
            )
            raise TooMuchError(what, token.start())


def check_tree(data: dict[str, Any]) -> None:
    """Likewise for what dotted keys make: every part is a table inside the one before.

    Raises:
        TooMuchError: it is nested too deep.
    """
    open_ = [(name, value, 1) for name, value in data.items()]
    while open_:
        name, value, level = open_.pop()
        if level > MOST_LEVELS:
            raise TooMuchError(_too_deep(name), 0)
        parts = value.values() if isinstance(value, dict) else value
        if isinstance(value, (dict, list)):
            open_ += [(name, part, level + 1) for part in parts]


def key_before(text: str, at: int) -> str:
    """The last key that is given a value before a character; "" where there is none."""
    found = None
    for found in _KEY.finditer(text, 0, at):  # noqa: B007 (the last one is wanted)
        pass
    return found[1][:60] if found else ""


def _too_deep(key: str) -> str:
    where = f"in `{key}`" if key else "here"
    return f"Lists and tables are nested more than {MOST_LEVELS} deep {where}"
