"""`auditor validate`, `list`, `show` and `schema`, as processes and in this one."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from config_texts import FULL, MINIMAL
from typer.testing import CliRunner, Result

from auditor.cli import app
from auditor.cli.listing import Kind
from auditor.registry import load_registry
from auditor.registry.hooks import WORDS

HEAVY = ("torch._C", "numpy._core", "scipy", "matplotlib", "tomlkit", "jinja2", "weasyprint")
SINK = '''
from auditor.api import hookimpl, sink


@sink(name="said-aloud")
def said_aloud(event):
    """Says every event aloud."""


@hookimpl
def auditor_sinks():
    return [said_aloud]
'''


def auditor(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def modules_after(code: str, *arguments: str) -> list[str]:
    """Which heavy modules are loaded after `code` in a new process."""
    script = f"{code}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))


def test_validate_imports_nothing_heavy(directory: Path) -> None:
    path = directory / "all.toml"
    path.write_text(FULL)
    run = "import sys; from auditor.cli import app; app(sys.argv[1:], standalone_mode=False)"
    assert modules_after(run, "validate", str(path)) == []


def test_importing_the_configuration_imports_nothing_heavy() -> None:
    lazy = (
        "from auditor.lazy import import_on_first_use\n"
        "import_on_first_use('torch'); import_on_first_use('numpy')\n"
    )
    assert modules_after(lazy + "import auditor.config") == []


def test_validate(directory: Path) -> None:
    path = directory / "all.toml"
    path.write_text(FULL)
    done = auditor("validate", str(path), "--set", "run.seed=3")
    assert done.exit_code == 0
    assert "2 models, 4 threats, 2 attacks (as listed), 3 gates" in done.stdout
    assert "1 model, 1 threat" in auditor("validate", str(directory / "audit.toml")).stdout


def test_validate_says_what_is_left_out(directory: Path) -> None:
    path = str(directory / "audit.toml")
    done = auditor("validate", path, "--set", "plugins.disable=['noise']")
    assert "Left out of the profile by [plugins] disable: noise." in done.stdout


def test_validate_of_a_wrong_file(directory: Path) -> None:
    path = directory / "wrong.toml"
    path.write_text(MINIMAL.replace("linf", "lnif"))
    done = auditor("validate", str(path))
    assert done.exit_code == 2
    assert 'did you mean "linf"?' in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("kind", [kind.value for kind in Kind if kind != Kind.RUNS])
def test_list_has_a_line_for_each_and_show_knows_it(kind: str) -> None:
    """Off a terminal lines are whole, however narrow one would be."""
    rows = json.loads(auditor("list", kind, "--json").stdout)
    listed = CliRunner(env={"COLUMNS": "40"}).invoke(app, ["list", kind]).stdout
    if not rows:
        assert listed == f"No {kind} are installed.\n"
        return
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines] == [row["name"] for row in rows]
    for row, line in zip(rows, lines, strict=True):
        assert row.get("summary", row.get("status")) in line
        shown = auditor("show", row["name"])
        assert shown.exit_code == 0
        words = ("sink", "tracker") if kind == "sinks" else (WORDS.get(kind, ""),)
        assert any(f"{row['name']} ({word}" in shown.stdout for word in words)


def test_every_kind_that_plugins_offer_can_be_listed() -> None:
    assert {kind.value for kind in Kind} == {*WORDS, "plugins", "runs"}


def test_list_on_a_terminal_is_no_wider_than_it() -> None:
    parent, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-m", "auditor", "list", "checks"]
    done = subprocess.run(
        command, stdin=child, stdout=child, stderr=child, check=True,
        env={**environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0
    os.close(child)
    text = b""
    with contextlib.suppress(OSError):  # how a terminal on Linux says that it has ended
        while part := os.read(parent, 65536):
            text += part
    os.close(parent)
    lines = text.decode().splitlines()
    assert max(map(len, lines)) == 80
    assert sum(line.endswith("…") for line in lines) > 5
    assert lines[-1] == "auditor show NAME says more; --json all of it."


def test_list_tells_which_plugin_what_is_not_built_in_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "said.py"
    path.write_text(SINK)
    listed = auditor("list", "sinks", "-p", str(path)).stdout.splitlines()
    (line,) = [line for line in listed if line.startswith("said-aloud ")]
    assert line.split(maxsplit=1)[1] == "Says every event aloud. (plugin said)"
    shown = auditor("show", "said", "-p", str(path)).stdout
    assert shown.startswith("said (plugin, loaded)")
    assert "sink: said-aloud" in shown


def test_list_names_what_a_program_needs() -> None:
    (pgd,) = (
        row for row in json.loads(auditor("list", "attacks", "--json").stdout)
        if row["name"] == "pgd"
    )  # fmt: skip
    assert pgd.keys() == {"name", "norms", "needs", "summary", "reference", "plugin"}


def test_list_shows_broken_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value, module, dist = "sidesteps", "sidesteps_missing", "sidesteps_missing", None

        def load(self) -> None:
            raise ImportError("no such library")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    assert "ImportError: no such library" in auditor("list", "plugins", "--json").stdout
    assert "broken" in auditor("list", "plugins").stdout


@pytest.mark.parametrize("name", ["pgd", "fgsm", "npz", "quick"])
def test_show(name: str) -> None:
    done = auditor("show", name)
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{name} (")


@pytest.mark.slow
def test_every_snippet_of_show_is_valid(directory: Path) -> None:
    """What is shown may be pasted."""
    path = directory / "shown.toml"
    registry = load_registry()
    both = MINIMAL.replace("[threat]", '[[threat]]\nnorm = "l2"\nepsilon = 1\n[[threat]]')
    for name in [*registry.attacks, *registry.profiles]:
        path.write_text(
            f"{both}\n{auditor('show', name).stdout.partition(chr(10) * 2 + '    ')[2]}"
        )
        done = auditor("validate", str(path))
        assert done.exit_code == 0, done.stderr


def test_show_of_an_unknown_name() -> None:
    done = auditor("show", "pdg")
    assert done.exit_code == 2
    assert 'did you mean "pgd"?' in done.stderr


@pytest.mark.parametrize("which", ["config", "result"])
def test_schema(which: str) -> None:
    schema = json.loads(auditor("schema", which).stdout)
    assert schema["type"] == "object"
    assert "schema" in schema["properties"]


def test_config_schema_knows_every_key() -> None:
    schema = json.loads(auditor("schema", "config").stdout)
    assert {*schema["properties"]} == {
        *("schema", "title", "profile", "battery", "run", "model", "data", "threat", "attack"),
        *("check", "gate", "report", "track", "plugins"),
    }
    assert schema["additionalProperties"] is False
