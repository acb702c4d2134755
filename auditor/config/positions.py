"""Finds the line on which each key of a TOML document stands; `tomllib` does not tell."""

from __future__ import annotations

import bisect
import re
import tomllib

#: A key inside a document: names of tables and keys, and places in arrays.
KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_NAME = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_KEY = re.compile(rf"[ \t]*{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*[ \t]*")
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # a multi-line text may end with two quotes of its own
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^,\]}\n#]+",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of every table, key and array item of a document.

    Args:
        text: TOML that `tomllib` accepts, so that no fault has to be looked for here.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


def split_key(text: str) -> tuple[str, ...]:
    """The names of a dotted key.

    Raises:
        ValueError: `text` is not a TOML key.
    """
    if not _KEY.fullmatch(text):
        raise ValueError(f"{text!r} is not a key")
    node, names = tomllib.loads(f"{text} = 0"), []
    while isinstance(node, dict):
        ((name, node),) = node.items()
        names.append(name)
    return tuple(names)


class _Scanner:
    """Walks once over the text; `at` is the place reached."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.starts = [found.end() for found in re.finditer("\n", text)]
        self.lines: dict[KeyPath, int] = {}
        #: The last index of every array of tables, by its path.
        self.last: dict[KeyPath, int] = {}

    def document(self) -> None:
        table: KeyPath = ()
        self.skip()
        while self.at < len(self.text):
            if self.text.startswith("[", self.at):
                table = self.header()
            else:
                self.pair(table)
            self.skip()

    def header(self) -> KeyPath:
        """[table] or [[array of tables]]: the path of what follows."""
        start, brackets = self.at, 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        *parents, name = self.key()
        self.at += brackets
        path: KeyPath = ()
        for parent in parents:
            path = (*path, parent)
            path = (*path, self.last[path]) if path in self.last else path
        path = (*path, name)
        self.note(path, start)
        if brackets == 2:
            self.last[path] = self.last.get(path, -1) + 1
            path = (*path, self.last[path])
            self.note(path, start)
        return path

    def pair(self, table: KeyPath) -> None:
        start, path = self.at, table
        for name in self.key():
            path = (*path, name)
            self.note(path, start)
        self.at += 1  # the equals sign
        self.value(path)

    def value(self, path: KeyPath) -> None:
        self.skip()
        opening = self.text[self.at]
        if opening not in "[{":
            self.at = self.match(_SCALAR).end()
            return
        self.at += 1
        index = 0
        while not self.closed():
            if opening == "[":
                self.note((*path, index), self.at)
                self.value((*path, index))
                index += 1
            else:
                self.pair(path)

    def closed(self) -> bool:
        """Step over blanks, commas and a closing bracket; whether there was one."""
        self.skip()
        if self.text[self.at] == ",":
            self.at += 1
            self.skip()
        closed = self.text[self.at] in "]}"
        self.at += closed
        return closed

    def key(self) -> tuple[str, ...]:
        found = self.match(_KEY)
        self.at = found.end()
        return split_key(found.group())

    def skip(self) -> None:
        self.at = self.match(_BLANK).end()

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        assert found is not None, f"not TOML at character {self.at}"
        return found

    def note(self, path: KeyPath, at: int) -> None:
        """The first mention of a path is its place."""
        self.lines.setdefault(path, bisect.bisect_right(self.starts, at) + 1)
