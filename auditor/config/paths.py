"""Paths among the keys of a plugin's class, made absolute."""

from __future__ import annotations

from typing import Any, get_type_hints

from auditor.config.context import Context
from auditor.config.positions import KeyPath
from auditor.config.problems import shown
from auditor.parameters import Spec, path_kinds


def resolved_paths(
    context: Context, table: KeyPath, spec: Spec, written: dict[str, Any]
) -> dict[str, Any]:
    """Those parameters of a plugin's class that are paths, made absolute; problems are noted.

    Args:
        table: where they stand.
        written: its parameters as written.
    """
    hints = get_type_hints(spec.cls, include_extras=True)
    return {
        key: path
        for key, value in written.items()
        if (path := _resolved(context, (*table, key), value, path_kinds(hints[key]))) != value
    }


def _resolved(context: Context, path: KeyPath, value: Any, kinds: frozenset[str]) -> Any:
    """A plugin's parameter, made absolute where it is a path; a problem is noted if it is amiss."""
    if path[-1] == "path" and not kinds:  # plain text under this name may be a file or a folder
        kinds = frozenset({"file", "folder"})
    if not kinds or not isinstance(value, str):
        return value
    if "factory" in kinds:
        return _factory(context, path, value)
    found = (context.directory / value).absolute()
    if "file" in kinds:
        folder_too = "folder" in kinds
        if folder_too and found.is_dir():
            return str(found)
        what = "the file or directory of the images" if folder_too else "a file"
        return str(context.file(path, value, what=what))
    if not found.is_dir():
        context.problems.add(
            path,
            f"The folder {shown(value)} {'is a file' if found.exists() else 'does not exist'}.",
            expected=f"a folder, relative to the directory of {context.problems.source.path.name}",
        )
    return str(found)


def _factory(context: Context, path: KeyPath, text: str) -> str:
    source, _, name = text.rpartition(":")
    if not source or not name:
        context.problems.add(
            path,
            f"`{path[-1]}` cannot be {shown(text)}.",
            expected='"file.py:callable" or "package.module:callable"',
        )
        return text
    return f"{context.source(path, source)}:{name}"
