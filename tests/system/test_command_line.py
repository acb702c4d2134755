"""The commands that describe and check: what they print, and that they never import torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system_files import MODEL, auditor, process

ROOT = Path(__file__).parents[2]
BUILT_IN_ATTACKS = {
    "fgsm", "r-fgsm", "noise", "pgd", "apgd", "fab", "ddn", "square", "autoattack", "cascade",
}  # fmt: skip
COMMANDS = ("run", "init", "validate", "doctor", "list", "show", "report", "selftest", "schema")

#: Runs a command and says whether torch and numpy have been loaded, which is more than imported:
#: until something of them is used, an empty module stands in for each.
PROBE = """
import sys
from auditor.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    status = end.code
print("loaded:", *(name for name in ("torch._C", "numpy._core") if name in sys.modules),
      "; status:", status, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("validate", "audit.toml"),
        ("schema", "config"),
        ("schema", "result"),
        ("list", "reports"),
        ("list", "profiles"),
    ],
)
def test_no_torch_and_no_numpy(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stderr.splitlines()[-1] == "loaded: ; status: 0", done.stderr
    assert done.stdout


def test_the_probe_would_notice() -> None:
    probe = PROBE.replace(
        "from auditor.cli import app", "import torch; app = lambda _: sys.exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "loaded: torch._C numpy._core ; status: 0"


def test_console_script() -> None:
    script = Path(sys.executable).with_name("auditor")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert "Exit statuses: 0 every gate held; 1 a gate is broken;" in " ".join(done.stdout.split())


def test_no_arguments_shows_the_help() -> None:
    done = process()
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert "Usage: " in said
    assert all(f" {command} " in said for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    status, said = auditor(command, "--help")
    assert status == 0
    assert f"{command} [OPTIONS]" in said


def test_unknown_command() -> None:
    status, said = auditor("audit")
    assert status == 2
    assert "No such command 'audit'" in said


def test_unknown_option() -> None:
    status, said = auditor("run", "audit.toml", "--fast")
    assert status == 2
    assert "No such option: --fast" in said


def test_missing_configuration(here: Path) -> None:
    status, said = auditor("run", "audit.tml")
    assert status == 2
    assert "no such file" in said
    # Whatever it says to do next can be done.
    assert set(re.findall(r"auditor ([a-z]+)", said)) <= set(COMMANDS)


def test_shipped_configuration_is_valid() -> None:
    status, said = auditor("validate", str(ROOT / "audit.toml"))
    assert status == 0
    assert "is valid: 4 models, 3 threats, 6 attacks (profile standard), 1 gate." in said
    assert "Models and data were not loaded." in said


def rows_of(kind: str) -> dict[str, Any]:
    status, said = auditor("list", kind, "--json")
    assert status == 0
    return {row["name"]: row for row in json.loads(said)}


def test_list_attacks() -> None:
    rows = rows_of("attacks")
    assert set(rows) >= BUILT_IN_ATTACKS
    assert rows["pgd"]["norms"] == ["l1", "l2", "linf"]
    assert (rows["pgd"]["needs"], rows["noise"]["needs"]) == ("gradient", "scores")
    assert all(row["summary"] and row["reference"] and row["plugin"] for row in rows.values())
    status, said = auditor("list", "attacks")
    assert status == 0
    assert all(name in said for name in rows)


def test_list_plugins() -> None:
    rows = rows_of("plugins")
    assert {"fgsm", "noise", "npz", "pgd", "profiles"} <= set(rows)
    built_in = [row for row in rows.values() if row["origin"] == "built-in"]
    assert all(row["status"] == "loaded" and row["version"] for row in built_in)
    assert "built-in" in auditor("list", "plugins")[1]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("data", {"npz"}),
        ("norms", {"linf", "l2", "l1"}),
        ("profiles", {"quick", "standard", "thorough"}),
        ("reports", {"html", "pdf"}),
    ],
)
def test_list_other_kinds(kind: str, names: set[str]) -> None:
    assert set(rows_of(kind)) >= names


def test_show_attack() -> None:
    status, said = auditor("show", "pgd")
    assert status == 0
    assert said.startswith("pgd (attack)\n\nProjected gradient descent from a random start")
    assert "arXiv:1706.06083" in said
    assert '    [[attack]]\n    use = "pgd"\n    steps = 40\n' in said


def test_what_show_prints_can_be_pasted(here: Path) -> None:
    text = Path("audit.toml").read_text(encoding="utf-8")
    text += '\n[[threat]]\nnorm = "l2"\nepsilon = 1\n'  # some attacks know no other norm
    for name in rows_of("attacks"):
        example = auditor("show", name)[1].split("In audit.toml:\n")[1]
        Path("audit.toml").write_text(
            text + example.replace("use =", f'label = "shown-{name}"\nuse ='), encoding="utf-8"
        )
        status, said = auditor("validate", "audit.toml")
        assert status == 0, said


def test_show_unknown_name() -> None:
    status, said = auditor("show", "pdg")
    assert status == 2
    assert 'There is nothing called "pdg".' in said
    assert 'did you mean "pgd"?' in said


@pytest.mark.parametrize("which", ["config", "result"])
def test_schema(which: str) -> None:
    status, said = auditor("schema", which)
    assert status == 0
    schema = json.loads(said)
    assert schema["type"] == "object"
    assert set(schema["required"]) >= {"schema", "data"} if which == "config" else {"models"}


def test_report_of_no_run(here: Path) -> None:
    status, said = auditor("report", "audits")
    assert status == 2
    assert "There is no audit.json." in said


def test_report_in_an_unknown_format(here: Path) -> None:
    assert auditor("run", "audit.toml")[0] == 0
    (directory,) = Path("audits").iterdir()
    status, said = auditor("report", str(directory), "--format", "docx")
    assert status == 2
    assert 'The report format "docx" is not available in this version.' in said
    assert "html, pdf" in said


def test_a_warning_is_told_once_and_as_a_line_of_the_screen(here: Path) -> None:
    """Python would print it raw, with its source, and as often as the model's filter asks for."""
    warns = (
        "import warnings\n        warnings.simplefilter('always')\n"
        "        warnings.warn('an odd\\nlayer')\n        return self.linear"
    )
    Path("model.py").write_text(MODEL.replace("return self.linear", warns), encoding="utf-8")
    line = MODEL.splitlines().index("        return self.linear(x.flatten(1))") + 3
    done = process("run", "audit.toml")
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("an odd") == 1
    assert f"warning: UserWarning: an odd\n            layer (at model.py:{line})\n" in said
    assert "warnings.warn" not in said
