"""Draws docs/rooms.svg: the rooms of `auditor` and which of them use which, as the code has it.

    python docs/rooms.py

An arrow that others imply is left out: a room that uses `cells` may use all below `cells` too.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import grimp

PICTURE = Path(__file__).with_name("rooms.svg")

Uses = dict[str, set[str]]

#: Width and height of a room, and the distances between rooms and rows, in pixels.
_W, _H, _GAP, _ROW = 96, 26, 22, 58
#: The width of the place that an arrow has in a row that it passes.
_LANE = 26


def uses() -> Uses:
    """Every room of the package, with those that its modules import from."""
    graph = grimp.build_graph("auditor")
    rooms = {name: name.split(".")[1] for name in graph.modules if "." in name}
    found: Uses = {room: set() for room in rooms.values()}
    for module, room in rooms.items():
        for used in graph.find_modules_directly_imported_by(module):
            if used in rooms and rooms[used] != room:
                found[room].add(rooms[used])
    return found


def reduced(uses: Uses) -> Uses:
    """Without what follows from the rest."""

    def below(room: str) -> set[str]:
        return uses[room].union(*(below(used) for used in uses[room]))

    return {
        room: used - set[str]().union(*(below(one) for one in used)) for room, used in uses.items()
    }


def rows(arrows: Uses) -> tuple[list[list[str]], dict[tuple[str, str], list[str]]]:
    """The rooms from the top down, each below all that use it, and the way of every arrow.

    An arrow that passes a row has a place of its own there, so that it goes around the rooms.
    """
    users = {room: {other for other in arrows if room in arrows[other]} for room in arrows}

    def depth(room: str) -> int:
        return max((depth(user) + 1 for user in users[room]), default=0)

    depths = {room: depth(room) for room in arrows}
    levels: list[list[str]] = [[] for _ in range(max(depths.values()) + 1)]
    for room in sorted(arrows):
        levels[depths[room]].append(room)
    ways = {}
    above = {room: set[str]() for room in arrows}
    for room in sorted(arrows):
        for used in sorted(arrows[room]):
            passed = [f"{room} {used} {y}" for y in range(depths[room] + 1, depths[used])]
            way = ways[room, used] = [room, *passed, used]
            for y, name in enumerate(passed, depths[room] + 1):
                levels[y].append(name)
            for upper, lower in pairwise(way):
                above.setdefault(lower, set()).add(upper)
    place: dict[str, float] = {}
    for row in levels:
        middle = {r: sum(place[u] for u in above[r]) / (len(above[r]) or 1) for r in row}
        row.sort(key=lambda one: (middle[one], one))
        place |= _places(row)
    return levels, ways


def _places(row: list[str]) -> dict[str, float]:
    """The middle of each room or passing arrow of a row, whose own middle is 0."""
    widths = [_LANE if " " in name else _W + _GAP for name in row]
    return {name: sum(widths[:i]) + widths[i] / 2 - sum(widths) / 2 for i, name in enumerate(row)}


def _svg(uses: Uses) -> Iterator[str]:
    levels, ways = rows(reduced(uses))
    at = {
        name: (x, y * _ROW + _ROW / 2)
        for y, row in enumerate(levels)
        for name, x in _places(row).items()
    }
    half = max(abs(x) for x, _ in at.values()) + _W / 2 + _GAP
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{-half:g} 0 {2 * half:g} '
        f'{len(levels) * _ROW}" width="{2 * half:g}" font-family="sans-serif" font-size="13">'
    )
    yield f'<rect x="{-half:g}" width="100%" height="100%" fill="white"/>'
    yield (
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z" fill="#789"/></marker>'
    )
    for way in ways.values():
        points = [
            f"{x:g} {y + end:g}"
            for name in way
            for x, y in [at[name]]
            for end in ([-_H / 2, _H / 2] if name not in (way[0], way[-1])
                        else [_H / 2 if name == way[0] else -_H / 2])
        ]  # fmt: skip
        yield f'<path d="M{"L".join(points)}" stroke="#789" fill="none" marker-end="url(#tip)"/>'
    for room in sorted(uses):
        x, y = at[room]
        yield (
            f'<rect x="{x - _W / 2:g}" y="{y - _H / 2:g}" width="{_W}" height="{_H}" rx="4" '
            'fill="#eef3f8" stroke="#567"/>'
            f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="middle">{room}</text>'
        )
    yield "</svg>"


def drawn() -> str:
    """The picture as it has to be."""
    return "\n".join(_svg(uses())) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
