"""Whatever a valid document looks like, its keys are found where they stand."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditor.config.positions import KeyPath, key_lines

VALUES = [
    ("1", 0),
    ("-1.5e3 # [not.a.table]", 0),
    ("1979-05-27 07:32:00", 0),
    ("true", 0),
    ('"a # b = [c] \\" ]"', 0),
    ("'C:\\dir\\'", 0),
    ('"""\n[fake]\nkey = 1 \\""" """', 2),
    ('""""quoted""""', 0),
    ("'''\n[[fake]]\n''''", 2),
    ("[]", 0),
    ("[1, 2, [3, [4]],]", 0),
    ("[ # first\n  'a',\n\n  { b = 1, c.d = [2] },\n]", 4),
    ('{ x = 1, "y z" = { w = [1, 2] } }', 0),
    ("{}", 0),
]
NAMES = ["a", "b-c", "1", '"q.u\\"o"', "'li]t'", "Z_9"]


def paths(tree: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Every path of a parsed document."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    below = [(*path, key) for key, _ in items]
    found = set(below)
    for key in below:
        inner = tree[key[-1]]
        if isinstance(inner, (dict, list)):
            found |= paths(inner, key)
    return found


def plain(name: str) -> str:
    return next(iter(tomllib.loads(f"{name} = 0")))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    """A document, and the line of each key that was written."""
    lines: list[str] = []
    where: dict[KeyPath, int] = {}
    counts: dict[str, int] = {}
    kinds = draw(st.lists(st.sampled_from(["table", "array", "sub"]), max_size=5))
    for number, kind in enumerate(["top", *kinds]):
        table: KeyPath = ()
        lines += draw(st.lists(st.sampled_from(["", "# x = 1", "  "]), max_size=2))
        if kind == "table":
            lines.append(f"[ t{number} ] # [x]")
            table = (f"t{number}",)
        elif kind == "array":
            lines.append("[[many]]")
            counts["many"] = counts.get("many", -1) + 1
            table = ("many", counts["many"])
        elif kind == "sub" and "many" in counts:
            lines.append(f"[many.'s{number}']")
            table = ("many", counts["many"], f"s{number}")
        elif kind == "sub":
            continue
        if table:
            where[table] = len(lines)
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
            value, more = draw(st.sampled_from(VALUES))
            dotted = draw(st.booleans())
            if table or not dotted:
                lines.append(f"  {name} . sub = {value}" if dotted else f"{name}={value}")
                where[*table, plain(name)] = len(lines)
                lines[-1:] = lines[-1].split("\n")
                assert lines[-1 - more].startswith((f"  {name}", name))
    return "\n".join(lines), where


@settings(max_examples=200, deadline=None)
@given(documents())
@example(("", {}))
@example(("a = 1", {("a",): 1}))
def test_keys_are_found_on_their_lines(document: tuple[str, dict[KeyPath, int]]) -> None:
    text, where = document
    found = key_lines(text)
    assert {path: found[path] for path in where} == where
    assert found.keys() == paths(tomllib.loads(text))


def test_lines_inside_values() -> None:
    text = "a = [\n  1,\n  { b = 2, c = 3 },\n]\n[[x]]\n[x.y]\nz.w = 1\n[[x]]\n[[x.v]]\nu = 1\n"
    found = key_lines(text)
    assert (found["a", 0], found["a", 1], found["a", 1, "c"]) == (2, 3, 3)
    assert (found["x", 0, "y", "z", "w"], found["x", 1], found["x", 1, "v", 0, "u"]) == (7, 8, 10)
