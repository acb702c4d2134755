"""Markdown of the GitHub flavour in which no text of others can be markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from auditor.api import one_line

#: What may begin markup, or a formula on GitHub.
_MARKUP = re.compile(r"[\\`*_{}\[\]|~$!]|^[#+-]|(?<=\d)[.)](?=\s)")
#: What becomes a link, a mention of somebody, a reference to an issue, or an emoji by itself.
_ALIVE = re.compile(
    r"@(?=\w)|#(?=\d)|\bGH(?=-\d)|(?<!\d):(?=[\w+-]+:)|:/(?=/)|\bwww(?=\.)", re.IGNORECASE
)
_INERT = "<!-- -->"
_LONGEST = 300


def text(words: str) -> str:
    """A sentence as it is, on one line, whatever is in it."""
    shown = one_line(words).strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = _MARKUP.sub(r"\\\g<0>", shown)
    return _ALIVE.sub(lambda found: found[0] + _INERT, shown)


def code(name: str) -> str:
    """A name in letters of one width; a table may hold it."""
    shown = one_line(name).replace("\t", " ").strip() or " "
    if len(shown) > _LONGEST:
        shown = f"{shown[:_LONGEST]}…"
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}".replace("|", "\\|")


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[bool] = ()
) -> list[str]:
    """The lines of a table, an empty one after it.

    Args:
        head: of each column.
        numbers: which columns stand at the right.
    """
    sides = [*numbers, *[False] * (len(head) - len(numbers))]
    lines = [head, ["---:" if right else "---" for right in sides], *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]
