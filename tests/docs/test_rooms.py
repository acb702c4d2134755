"""`docs/architecture.md` names the rooms that there are, and its picture is the code's."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import rooms  # noqa: E402

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_picture_is_drawn_from_the_code() -> None:
    assert rooms.PICTURE.read_text(encoding="utf-8") == rooms.drawn(), "run docs/rooms.py"


def test_an_arrow_that_others_imply_is_left_out_and_no_other() -> None:
    uses = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert rooms.reduced(uses) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}


def test_rooms_stand_below_all_that_use_them() -> None:
    levels, ways = rooms.rows(rooms.reduced(rooms.uses()))
    height = {name: y for y, row in enumerate(levels) for name in row}
    assert set(rooms.uses()) <= set(height)
    for way in ways.values():
        assert [height[name] - height[way[0]] for name in way] == list(range(len(way)))


def test_every_room_is_in_the_table_and_nothing_else() -> None:
    table = PAGE.partition("| room |")[2].partition("\n\n")[0]
    told = re.findall(r"`auditor/([a-z_]+)(?:/|\.py)`", "".join(
        line.split("|")[1] for line in table.splitlines() if line.startswith("| `")
    ))  # fmt: skip
    assert sorted(told) == sorted(set(rooms.uses()) - {"__main__"})


def test_files_that_the_page_names_are_there() -> None:
    everywhere = [ROOT / "auditor", ROOT / "plugins", ROOT]
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+(?:\.py|/))`", PAGE))
    assert named
    missing = {name for name in named if not any((base / name).exists() for base in everywhere)}
    assert not missing
