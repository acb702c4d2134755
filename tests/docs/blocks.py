"""The code blocks of a Markdown page, and how each kind is tried."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tomlkit
import yaml

_FENCE = re.compile(r"^```(?P<kind>\S*)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)
_TITLE = re.compile(r'title="([^"]+)"')
_STATUS = re.compile(r"\s+# exit status (\d+)$")
#: Blocks that show what is printed or drawn, and run nothing.
SHOWN = ("text", "")

#: What a fragment of audit.toml is completed by.
_BASE = {
    "schema": 1,
    "model": {"factory": "my_model.py:make", "weights": "my_model.safetensors"},
    "data": {"adapter": "npz", "path": "test.npz"},
    "threat": {"norm": "linf", "epsilon": "2/255"},
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be written to, and where it stands."""

    kind: str
    title: str | None
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(page):
        title = _TITLE.search(match["options"])
        line = page[: match.start()].count("\n") + 1
        found.append(Block(match["kind"], title and title[1], match["text"], line))
    return found


def try_block(block: Block, folder: Path) -> None:
    """Do with a block in `folder` what a reader would do; raises where that fails."""
    if block.title:
        file = folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
    TRIALS[block.kind](block, folder)


def _python(block: Block, folder: Path) -> None:
    """A file only has to compile, commands will use it; anything else is run."""
    if block.title:
        ast.parse(block.text)
        return
    _run([sys.executable, "-c", block.text], folder, 0)


def _toml(block: Block, folder: Path) -> None:
    """A whole file as it is; a fragment together with what else an audit needs."""
    if block.title and block.title != "audit.toml":
        tomlkit.parse(block.text)
        return
    given = tomlkit.parse(block.text).unwrap()
    file = folder / (block.title or "fragment.toml")
    if "schema" not in given:
        file.write_text(tomlkit.dumps(_BASE | given), encoding="utf-8")
    else:
        file.write_text(block.text, encoding="utf-8")
    _run([sys.executable, "-m", "auditor", "validate", file.name], folder, 0)


def _console(block: Block, folder: Path) -> None:
    """Every line that starts with a dollar sign; the others are what it prints."""
    commands = [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]
    assert commands, "a console block without a command"
    for command in commands:
        status = _STATUS.search(command)
        words = shlex.split(_STATUS.sub("", command), comments=True)
        if words[0] == "auditor":
            words = [sys.executable, "-m", *words]
        elif words[0] in ("python", "pytest"):
            words = [
                sys.executable,
                *(["-m", "pytest"] if words[0] == "pytest" else []),
                *words[1:],
            ]
        _run(words, folder, int(status[1]) if status else 0)


def _yaml(block: Block, folder: Path) -> None:
    """It has to be YAML."""
    assert yaml.safe_load(block.text)


def _json(block: Block, folder: Path) -> None:
    """It has to be JSON."""
    assert json.loads(block.text)


def _run(words: list[str], folder: Path, status: int) -> None:
    environment = os.environ | {"COLUMNS": "100", "AUDITOR_STATE_DIR": str(folder / "state")}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    said = f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == status, f"exit status {done.returncode}, not {status}: {said}"


TRIALS = {"python": _python, "toml": _toml, "console": _console, "yaml": _yaml, "json": _json}
