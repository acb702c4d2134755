"""Gates, overrides, the time budget and --plan, on the small audit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from system_files import (
    CONFIG,
    MODEL,
    attack_rows,
    audit_json,
    auditor,
    only_run,
    run_directories,
)

from auditor.registry import load_registry

FGSM = '[[attack]]\nuse = "fgsm"\n\n'
NOISE = '[[attack]]\nuse     = "noise"\nsamples = 4\n\n'
OPEN = '[[gate]]\nmetric  = "masking"\nat_most = "confirmed"\n'
#: Half of the images fall at epsilon 0.1, and all are classified correctly.
HOLDS = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.5\n'
BROKEN = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.51\n'
TOO_GOOD = '[[gate]]\nmetric = "clean_accuracy"\nat_most = 0.9\n'

SLOW_ONCE = """
import os
import time


class Slow(Bands):
    def forward(self, x):
        if x.requires_grad and len(x) > 2 and os.path.exists("slow"):
            os.remove("slow")
            time.sleep(4.1)
        return super().forward(x)


def make():
    return Slow()
"""


@pytest.mark.parametrize(
    ("gates", "status", "verdict", "holds"),
    [
        (OPEN, 0, "no-requirement", [True]),
        ("", 3, "inconclusive", [None]),
        (HOLDS + OPEN, 0, "pass", [True, True]),
        (HOLDS, 3, "inconclusive", [True, None]),
        (BROKEN + OPEN, 1, "fail", [False, True]),
        (BROKEN, 1, "fail", [False, None]),
        (TOO_GOOD + OPEN, 1, "fail", [False, True]),
    ],
)
def test_gates(gates: str, status: int, verdict: str, holds: list[bool | None], here: Path) -> None:
    Path("audit.toml").write_text(CONFIG.replace(OPEN, gates), encoding="utf-8")
    seen, said = auditor("run", "audit.toml")
    audit = audit_json(only_run())
    assert (seen, audit["exit_status"], audit["verdict"]) == (status, status, verdict)
    assert audit["status"] == "complete"
    assert [gate["holds"] for gate in audit["gates"]] == holds
    assert f"Verdict: {verdict}; exit status {status}." in said
    wrong = [gate["reason"] for gate in audit["gates"] if not gate["holds"]]
    assert all(reason in audit["reasons"] and reason in said for reason in wrong)


def test_gate_with_filters_applies_to_nothing_else(here: Path) -> None:
    two = '[[threat]]\nnorm = "linf"\nepsilon = ["1/255", 0.1]\n'
    gate = HOLDS.replace("0.5", "1.0") + 'epsilon = "1/255"\nmodel = "bands"\nnorm = "linf"\n'
    text = CONFIG.replace('[[threat]]\nnorm    = "linf"\nepsilon = 0.1\n', two)
    Path("audit.toml").write_text(text + gate, encoding="utf-8")
    assert auditor("run", "audit.toml")[0] == 0
    audit = audit_json(only_run())
    (filtered,) = [gate for gate in audit["gates"] if gate["metric"] == "robust_accuracy"]
    assert (filtered["epsilon"], filtered["value"]) == (1 / 255, 1.0)
    assert [t["robust"]["correct"] for t in audit["models"][0]["threats"]] == [24, 12]


def test_broken_gate_stays_broken_when_an_attack_fails(here: Path) -> None:
    Path("model.py").write_text(
        MODEL.replace("return self.linear", "return 0 * x.sum() + self.linear").replace(
            "def forward(self, x):",
            "def forward(self, x):\n        assert not (x.requires_grad and len(x) > 2)",
        ),
        encoding="utf-8",
    )
    gate = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.9\n'
    strong = CONFIG.replace("samples = 4", "samples = 300").replace("0.1\n", "0.2\n")
    Path("audit.toml").write_text(strong + gate, encoding="utf-8")
    status, _ = auditor("run", "audit.toml")
    audit = audit_json(only_run())
    assert attack_rows(audit)["fgsm"]["status"] == "error"
    assert attack_rows(audit)["noise"]["robust"]["correct"] <= 20
    assert (status, audit["verdict"], audit["status"]) == (1, "fail", "incomplete")


def test_overrides(here: Path) -> None:
    overrides = ("--set", "run.seed=7", "--set", 'title="changed"', "--set", "data.samples=12")
    assert auditor("run", "audit.toml", *overrides)[0] == 0
    audit = audit_json(only_run())
    assert (audit["title"], audit["provenance"]["seed"]) == ("changed", 7)
    assert audit["provenance"]["data"]["audited"] == 12
    assert audit["provenance"]["command"].split()[:3] == ["auditor", "run", "audit.toml"]
    assert "run.seed=7" in audit["provenance"]["command"]


def test_wrong_override_runs_nothing(here: Path) -> None:
    status, said = auditor("run", "audit.toml", "--set", "run.sed=7")
    assert status == 2
    assert 'did you mean "seed"?' in said
    assert not run_directories()


def test_plan_makes_nothing(here: Path) -> None:
    before = sorted(here.iterdir())
    status, said = auditor("run", "audit.toml", "--plan")
    assert status == 0
    # fgsm evaluates two points with one gradient, noise four; 24 images each.
    assert rows_of_plan(said) == [
        ("linf 0.1 · fgsm", 24, 48, 24),
        ("linf 0.1 · noise", 24, 96, 0),
        ("attacks", 144, 24),
    ]
    assert sorted(here.iterdir()) == before


def test_the_plan_sums_attacks_checks_and_models(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    second = '[[model]]\nname = "again"\nfactory = "model.py:make"\n\n[data]'
    config = CONFIG.replace("[data]", second).replace("check  = []\n", "")
    Path("audit.toml").write_text(config, encoding="utf-8")
    status, said = auditor("run", "audit.toml", "--plan")
    assert status == 0
    assert "bands, again: the same cells for each" in said
    rows = rows_of_plan(said)
    attacks, checks, together, both = ([*row[1:]] for row in rows[-4:])
    assert [row[0] for row in rows[-4:]] == [
        "attacks", "checks, at most", "together, at most", "all 2 models",
    ]  # fmt: skip
    listed = [row for row in rows[:-4] if row[0].startswith("check ")]
    assert len(listed) == len(load_registry().profiles["standard"].checks)
    assert attacks == [144, 24]
    assert checks == [sum(row[2] for row in listed), sum(row[3] for row in listed)]
    assert together == [a + b for a, b in zip(attacks, checks, strict=True)]
    assert both == [2 * one for one in together]
    assert all(len(line) <= 80 for line in said.splitlines() if not line.startswith("data: "))


def rows_of_plan(said: str) -> list[tuple[Any, ...]]:
    """Title and numbers of each line that ends in numbers."""
    found = []
    for line in said.splitlines():
        title, *cells = re.split(r"  +", line.strip())
        numbers = [cell.replace(",", "") for cell in cells]
        if numbers and all(map(str.isdigit, numbers)):
            found.append((title, *map(int, numbers)))
    return found


def test_time_budget_and_what_is_left_of_it(here: Path) -> None:
    Path("model.py").write_text(MODEL + SLOW_ONCE, encoding="utf-8")
    Path("audit.toml").write_text(CONFIG.replace(FGSM, "").replace(NOISE, NOISE + FGSM))
    # The first audit of a process imports for seconds; that is not to use the budget up.
    auditor("run", "audit.toml", "--set", "run.output=warm")
    Path("slow").touch()
    # Nothing is measured: the first gradient of several images is an attack's.
    budget = (
        "--set", 'run.time_budget="4s"', "--set", 'report.formats=["html"]',
        "--set", 'run.search_precision="float32"',
    )  # fmt: skip
    status, said = auditor("run", "audit.toml", *budget)
    directory = only_run()
    audit = audit_json(directory)
    reason = "the time budget of 4 seconds was used up while it ran"
    rows = attack_rows(audit)
    assert (status, audit["status"], audit["verdict"]) == (3, "incomplete", "inconclusive")
    assert rows["noise"]["status"] == "done"
    # It was in the middle: its second point was not evaluated any more.
    assert (rows["fgsm"]["status"], rows["fgsm"]["reason"]) == ("skipped", reason)
    assert rows["fgsm"]["robust"] is None
    assert f"attack fgsm has no result: {reason}" in said
    assert reason in (directory / "report.html").read_text(encoding="utf-8")
    # Only when asked to does it go on with a run that has ended.
    status, said = auditor("run", "audit.toml", *budget, "--resume")
    audit = audit_json(only_run())
    assert (status, audit["status"], audit["verdict"]) == (0, "complete", "no-requirement")
    assert "noise: robust 100.0%, kept from before" in said
    assert attack_rows(audit)["fgsm"]["robust"]["correct"] == 12


SIX = "".join(f'[[attack]]\nuse = "noise"\nlabel = "{name}"\n' for name in "abcdef")


def test_what_stops_a_model_is_said_once(here: Path) -> None:
    text = CONFIG.replace("check  = []\n", "").replace(OPEN, "")
    Path("audit.toml").write_text(text.replace('"data.npz"', '"data.npz"\nexpected_accuracy = 0.5'))
    assert auditor("run", "audit.toml")[0] == 3
    stopped, gate = audit_json(only_run())["reasons"]
    assert stopped.startswith("bands: The clean accuracy is 100.0% and 50.0% was expected")
    assert gate.endswith("No attack ended, so that there is nothing to judge.")


def test_what_has_no_result_for_one_reason_is_one_sentence(here: Path) -> None:
    Path("model.py").write_text(f"{MODEL}\n__import__('time').sleep(1.1)\n")
    checks = "".join(f'[[check]]\nuse = "{name}"\n' for name in ("determinism", "output-kind"))
    text = CONFIG.replace("check  = []\n", "").replace(FGSM, SIX) + checks
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("run", "audit.toml", "--set", 'run.time_budget="1s"')
    assert status == 3
    why = "the time budget of 1 seconds was used up."
    assert audit_json(only_run())["reasons"] == [
        f"bands: 7 attacks have no result: {why}",
        f"bands: checks determinism, output-kind have no result: {why}",
    ]
    # No gate tells it, so the terminal does.
    assert "bands: masking is inconclusive: No attack ended" in said


def test_run_that_has_ended_is_not_gone_on_with(here: Path) -> None:
    auditor("run", "audit.toml")
    first = only_run()
    before = {path: path.read_bytes() for path in first.iterdir() if path.is_file()}
    status, said = auditor("run", "audit.toml", "--resume", "--set", "run.output=audits")
    assert status == 0
    assert "going on with" not in said
    assert {path: path.read_bytes() for path in first.iterdir() if path.is_file()} == before
