"""Reads audit.toml, applies --set, and knows where every key came from."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from auditor.config.limits import MOST_BYTES, TooMuchError, check_text, check_tree
from auditor.config.positions import KeyPath, key_lines, split_key
from auditor.errors import AuditorError, ConfigError, UsageError
from auditor.registry.plugin_sources import is_file
from auditor.schema.audit import ARRAYS

_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
#: How `tomllib` writes the name of a table.
_DECLARED = re.compile(r"\('(.*?)',?\)")
_INDENT = " " * 12
#: What `tomllib` says, and what to do about it.
_SYNTAX_REMEDIES = {
    "Invalid value": 'put text in quotes, such as name = "value"; true and false are lower case',
    "Cannot overwrite a value": "this key stands there twice: remove one of the two",
    "twice": "this table stands there twice: join the two, or write [[name]] if several are meant",
    "Expected '=' after a key": "write key = value; a key with other signs than A-Z a-z 0-9 _ - "
    "needs quotes",
    "Expected newline or end of document": "one key = value per line; text needs quotes "
    'around all of it, fractions too: "8/255"',
    "Unclosed array": "close the list with ]",
    "Unclosed inline table": "close the table with } on the same line",
    "Illegal character '\\n'": "close the text with a quote on the same line",
    "Unterminated string": "close the text with a quote",
    "Expected ']": "close the table's name with as many ] as there are [",
    "Unescaped '\\'": "write the backslash twice, or the text in single quotes",
}


@dataclass
class ConfigSource:
    """The tree of values of a configuration, with the place of each.

    `name` is the file as the user called it; `overrides` are the command line's words by key.
    """

    path: Path
    name: str
    text: str
    data: dict[str, Any]
    overrides: dict[KeyPath, str] = field(default_factory=dict)

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return key_lines(self.text)

    def override_of(self, path: KeyPath) -> str | None:
        """The last option that wrote this key, or a table around it."""
        found = [text for key, text in self.overrides.items() if path[: len(key)] == key]
        return found[-1] if found else None

    def line(self, path: KeyPath) -> int | None:
        """The line of a key; of the table around it where it does not stand in the file."""
        for end in range(len(path), 0, -1):
            # A single [model] is kept as the list of one that [[model]] would have made.
            single = path[:1] + path[2:end] if path[1:2] == (0,) and end > 1 else None
            for candidate in (path[:end], single):
                if candidate is not None and candidate in self._lines:
                    return self._lines[candidate]
        return None

    def key_text(self, path: KeyPath) -> str:
        """The key as --set would call it."""
        alone = path[1:2] == (0,) and path[0] in ARRAYS and len(self.data[str(path[0])]) == 1
        parts = path[:1] + path[2:] if alone else path
        return ".".join(str(part) for part in parts)

    def where(self, path: KeyPath) -> str:
        """The place of a key, with the line of the file that it stands on."""
        override = self.override_of(path)
        if override is not None:
            return f"command line: {override if len(override) <= 80 else override[:77] + '...'}"
        key, line = self.key_text(path), self.line(path)
        if line is None:
            return self.name
        return f"{self.name}:{line} ({key})\n{_excerpt(self.text, line)}"


def _excerpt(text: str, line: int, column: int | None = None) -> str:
    """One line of the file, indented as the details of an error are, with a mark under a column."""
    content = text.replace("\r\n", "\n").split("\n")[line - 1]
    shown = content.strip()
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    excerpt = f"{_INDENT}{line} | {shown}"
    offset = (column or 0) - 1 - (len(content) - len(content.lstrip()))
    if column is None or not 0 <= offset <= len(shown):
        return excerpt
    return f"{excerpt}\n{_INDENT}{' ' * len(str(line))} | {' ' * offset}^"


def read_source(path: Path, overrides: Sequence[str], plugins: Sequence[str] = ()) -> ConfigSource:
    """Read a file, apply the overrides, and add the plugins that -p names.

    Raises:
        ConfigError: there is no such text, it is not TOML, or an override cannot be applied.
    """
    text = _read_text(path)
    source = ConfigSource(path.absolute(), str(path), text, _parse(str(path), text))
    as_lists(source.data)
    override(source, overrides)
    _add_plugins(source, plugins)
    return source


def override(source: ConfigSource, overrides: Sequence[str]) -> None:
    """Write the `key=value` texts of --set into the tree.

    Raises:
        ConfigError: one cannot be applied.
    """
    problems = [problem for text in overrides if (problem := _apply(source, text))]
    if problems:
        raise ConfigError(source.name, problems)
    try:
        check_tree(source.data)
    except TooMuchError as error:
        raise ConfigError(source.name, [_too_much(source.name, source.text, error)]) from None
    as_lists(source.data)


def _add_plugins(source: ConfigSource, plugins: Sequence[str]) -> None:
    """Write what -p names at the end of [plugins] paths, where the lock file will have it."""
    table = source.data.setdefault("plugins", {}) if plugins else None
    paths = table.setdefault("paths", []) if isinstance(table, dict) else None
    if not isinstance(paths, list):  # which is a fault of its own
        return
    for text in plugins:
        written = os.path.relpath(text, source.path.parent) if is_file(text) else text
        if written not in paths:
            source.overrides["plugins", "paths", len(paths)] = f"-p {text}"
            paths.append(written)


def as_lists(data: dict[str, Any]) -> None:
    """Make the list of one that it stands for out of a single [model], [threat] and so on."""
    for name in ARRAYS:
        if isinstance(data.get(name), dict):
            data[name] = [data[name]]


def _read_text(path: Path) -> str:
    expected, remedy = "an audit.toml", "name another file"
    try:
        kind = path.stat()
        if not stat.S_ISDIR(kind.st_mode):
            _refuse_what_is_no_text(path, kind)
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        what = "There is no such file."
    except IsADirectoryError:
        what = "This is a directory, not a file."
        if (path / "audit.toml").is_file():
            remedy = f"name the file in it: {path / 'audit.toml'}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"The file is not UTF-8 text: line {line} has a byte that cannot be read."
        expected, remedy = "TOML, which is UTF-8 text", "save it as UTF-8 in your editor"
    except OSError as error:
        what = f"The file cannot be read: {error.strerror}."
        remedy = "check its permissions"
    else:
        if text.strip():
            return text
        what, remedy = "The file is empty.", "the README has one to begin with"
    problem = UsageError(what, where=str(path), expected=expected, remedy=remedy)
    raise ConfigError(str(path), [problem])


def _refuse_what_is_no_text(path: Path, kind: os.stat_result) -> None:
    """Refuse, before a byte of it is read, what would be read for ever or for minutes.

    Raises:
        ConfigError: it is a pipe or a device, or larger than any configuration.
    """
    if not stat.S_ISREG(kind.st_mode):
        what, remedy = "This is a pipe or a device, not a file.", "write the text into a file"
    elif kind.st_size > MOST_BYTES:
        what = f"This file has {kind.st_size:,} bytes; no more than {MOST_BYTES:,} are read."
        remedy = "name the audit.toml; images, labels and weights belong in files that it names"
    else:
        return
    problem = UsageError(what, where=str(path), expected="an audit.toml", remedy=remedy)
    raise ConfigError(str(path), [problem])


def _too_much(name: str, text: str, error: TooMuchError) -> UsageError:
    line = text.count("\n", 0, error.at) + 1
    return UsageError(
        f"{error}.",
        where=f"{name}:{line}" if error.at else name,
        expected="what an audit.toml can hold: `auditor schema config` has all of it",
        remedy="leave it out; large values belong in files that audit.toml names",
    )


def _parse(name: str, text: str) -> dict[str, Any]:
    try:
        check_text(text)
        data = tomllib.loads(text)
        check_tree(data)
        return data
    except TooMuchError as error:
        raise ConfigError(name, [_too_much(name, text, error)]) from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
    at = _AT.search(message)
    said = _DECLARED.sub(lambda found: "[" + ".".join(found[1].split("', '")) + "]", message)
    said = _AT.sub("", said)
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    line, column = (int(at[1]), int(at[2])) if at and at[1] else (len(lines), len(lines[-1]) + 1)
    if line > 1 and column == 1 and "Illegal character" in said:
        line, column = line - 1, len(lines[line - 2]) + 1
    remedy = next((hint for part, hint in _SYNTAX_REMEDIES.items() if part in said), "")
    problem = UsageError(
        f"This is not TOML: {said[:1].lower()}{said[1:]}.",
        where=f"{name}:{line}:{column}\n{_excerpt(text, line, column)}",
        expected="TOML 1.0 (toml.io)",
        remedy=remedy,
    )
    raise ConfigError(name, [problem])


def _apply(source: ConfigSource, override: str) -> AuditorError | None:
    """Write one `key=value` into the tree, or say why that is impossible."""
    try:
        key, value = _split(override)
        path, holder = _holder(source.data, key)
    except ValueError as error:
        return UsageError(
            f"{error}.",
            where=f"command line: --set {override[:200]}",
            expected="key=value with a dotted key, such as run.seed=3 or model.0.name=mine",
            remedy="see the keys with: auditor schema config",
        )
    last = path[-1]
    if isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value
    source.overrides.pop(path, None)  # the last one counts
    source.overrides[path] = f"--set {override}"
    return None


def _split(override: str) -> tuple[tuple[str, ...], Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ValueError("This override has no value")
    if len(override) > MOST_BYTES:
        raise ValueError(f"This override has {len(override):,} characters")
    check_text(override)
    names = split_key(key.strip())
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    # A bare word is text, and so is whatever would break out of a single value.
    return names, parsed["value"] if parsed.keys() == {"value"} else text


def _holder(data: dict[str, Any], names: tuple[str, ...]) -> tuple[KeyPath, Any]:
    """The path that dotted names mean, and the table or list to write its last part into."""
    node: Any = data
    path: KeyPath = ()
    for depth, name in enumerate(names):
        part: str | int = name
        if isinstance(node, list) and not name.isdecimal():
            node, path = _only(node, path, name)
        if isinstance(node, list):
            part = int(name)
            if part > len(node):
                text = ".".join(map(str, path))
                raise ValueError(
                    f"There is no {text}.{part}: a new one would be {text}.{len(node)}"
                )
        elif not isinstance(node, dict):
            raise ValueError(f"{'.'.join(map(str, path))} is not a table, so it has no {name}")
        path = (*path, part)
        if depth == len(names) - 1:
            break
        node = _child(node, part, names[depth + 1])
    return path, node


def _only(node: list[Any], path: KeyPath, name: str) -> tuple[Any, KeyPath]:
    """The only table of a list, for who leaves its number out."""
    text = ".".join(map(str, path))
    if len(node) != 1:
        raise ValueError(f"There are {len(node)} [[{text}]]: say which, such as {text}.0.{name}")
    return node[0], (*path, 0)


def _child(node: Any, part: str | int, following: str) -> Any:
    """What `part` leads to, made where it is not there yet."""
    empty: Any = [] if following.isdecimal() else {}
    if isinstance(node, list):
        if part == len(node):
            node.append(empty)
        return node[int(part)]
    return node.setdefault(part, empty)
