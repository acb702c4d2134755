"""Damaged run directories and audit.json files: a right result, or a refusal that says why."""

from __future__ import annotations

import contextlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from system_files import audit_json, auditor, run_directories, without_times
from test_kills import result, write

pytestmark = pytest.mark.exhaustive

ROUNDS = range(20)
RESULTS_PER_ROUND, RUNS_PER_ROUND = 75, 25

ODD = ["NaN", "-Infinity", "1e999", "-1", "0", "3", "0.5", "null", "true", '""', '"x"', "[]", "{}",
       "[1]", '"\\u0000"', '"\\ud800"', '"<script>"', f'"{"long " * 4000}"', "1" * 5000,
       "9" * 30, "1e308", "-1e-320", "[" * 500 + "]" * 500]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an audit that has ended."""
    home = tmp_path_factory.mktemp("fuzz") / "whole"
    write(home)
    with contextlib.chdir(home):
        status, said = auditor("run", "audit.toml")
    assert status == 0, said
    return home


def flipped(text: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + bytes([text[at] ^ 1 << dice.randrange(8)]) + text[at + 1 :]


def cut(text: bytes, dice: random.Random) -> bytes:
    return text[: dice.randrange(len(text))]


def without_a_piece(text: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + text[at + dice.randrange(1, 200) :]


def with_noise(text: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(text))
    return text[:at] + dice.randbytes(dice.randrange(1, 50)) + text[at:]


def shuffled_lines(text: bytes, dice: random.Random) -> bytes:
    lines = text.split(b"\n")
    dice.shuffle(lines)
    return b"\n".join(lines)


def emptied(text: bytes, dice: random.Random) -> bytes:
    return b""


DAMAGE: list[Callable[[bytes, random.Random], bytes]] = [
    flipped, cut, without_a_piece, with_noise, shuffled_lines, emptied,
]  # fmt: skip


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON document."""
    if path:
        yield path
    parts = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node if isinstance(node, list) else ())
    )
    for key, part in parts:
        yield from leaves(part, (*path, key))


def with_odd_value(text: bytes, dice: random.Random) -> bytes:
    data = json.loads(text)
    *path, last = dice.choice(list(leaves(data)))
    node = data
    for key in path:
        node = node[key]
    if dice.random() < 0.2 and isinstance(node, dict):
        del node[last]
    else:
        node[last] = "PLACE"
    return json.dumps(data).replace('"PLACE"', dice.choice(ODD)).encode()


@pytest.mark.parametrize("round_", ROUNDS)
def test_damaged_results(round_: int, whole: Path, tmp_path: Path) -> None:
    """Beside its log, a result that was changed is refused; alone, it is rendered or refused."""
    dice = random.Random(f"results {round_}")
    (directory,) = run_directories(whole)
    good = (directory / "audit.json").read_bytes()
    for number in range(RESULTS_PER_ROUND):
        target = tmp_path / str(number)
        target.mkdir()
        logged = dice.random() < 0.2
        if logged:
            shutil.copy(directory / "events.jsonl", target)
        damage = dice.choice([with_odd_value, with_odd_value, with_odd_value, *DAMAGE])
        bad = damage(good, dice)
        (target / "audit.json").write_bytes(bad)
        status, said = auditor("report", str(target), "--format", "html")
        assert status == (0 if bad == good else 2) or (status == 0 and not logged), (damage, said)
        assert (target / "report.html").is_file() == (status == 0)
        assert "a defect of auditor" not in said
        if status:
            assert "expected:" in said


def damaged(directory: Path, dice: random.Random) -> str:
    """Damage one thing of a run directory; says what."""
    names = ["events.jsonl", "events.jsonl", "events.jsonl", "audit.json", "config.lock.toml",
             "samples.parquet", "adversarial.safetensors", "report.html"]  # fmt: skip
    cells = sorted((directory / "cells").iterdir())
    kinds = ["file", "file", "file", "gone", "folder", "strays", "cell gone", "cell"]
    kind = dice.choice(kinds if len(cells) > 1 else kinds[:-2])
    name = dice.choice([name for name in names if (directory / name).is_file()])
    if kind == "gone":
        (directory / name).unlink()
    elif kind == "folder":
        (directory / name).unlink()
        (directory / name).mkdir()
    elif kind == "cell gone":
        for cell in dice.sample(cells, dice.randrange(1, len(cells) + 1)):
            cell.unlink()
    elif kind == "strays":
        for stray in (".audit.json.tmp", "cells/notes.txt", "cells/x.123.tmp", "traceback.txt"):
            (directory / stray).write_bytes(dice.randbytes(20))
    elif kind == "cell":
        name = "cells"
        one, other = dice.sample(cells, 2)
        if dice.random() < 0.3:
            shutil.copy(one, other)
        else:
            one.write_bytes(dice.choice(DAMAGE)(one.read_bytes(), dice))
    else:
        path = directory / name
        path.write_bytes(dice.choice(DAMAGE)(path.read_bytes(), dice))
    return f"{kind}: {name}"


_SET_ASIDE = re.compile("(; | )?computed again, for what was kept .* set aside: .*", re.I | re.S)


def unsaid(node: Any) -> Any:
    """A result without its words on cells that were set aside and computed again."""
    if isinstance(node, dict):
        return {key: unsaid(value) for key, value in node.items()}
    if isinstance(node, list):
        return [unsaid(value) for value in node]
    return _SET_ASIDE.sub("", node) if isinstance(node, str) else node


@pytest.mark.parametrize("round_", ROUNDS)
def test_damaged_runs(
    round_: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run comes to the same result, or says what is in its way."""
    dice = random.Random(f"runs {round_}")
    (directory,) = run_directories(whole)
    expected = result(directory)
    for number in range(RUNS_PER_ROUND):
        home = tmp_path / str(number)
        shutil.copytree(whole, home)
        (run,) = run_directories(home)
        log = run / "events.jsonl"
        kept = [line for line in log.read_text("utf-8").splitlines() if '"finished"' not in line]
        log.write_text("\n".join(kept) + "\n", encoding="utf-8")
        what = [damaged(run, dice) for _ in range(dice.randrange(1, 3))]
        monkeypatch.chdir(home)
        status, said = auditor("run", "audit.toml")
        assert "a defect of auditor" not in said, (what, said)
        if status == 0:
            assert unsaid(result(run_directories(home)[-1])) == expected, what
        else:
            assert status in (3, 4), (what, said)
            assert "remedy:" in said, (what, said)
            if status == 3 and (run / "audit.json").is_file():  # a report could not be written
                found = without_times(audit_json(run))
                assert unsaid(found["models"]) == expected["models"], what
        shutil.rmtree(home)
