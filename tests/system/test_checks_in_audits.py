"""Checks in an audit: what they break counts, what they see is told, and a crash is a finding."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from system_files import (
    CONFIG,
    CONTRASTS,
    MODEL,
    audit_json,
    auditor,
    only_run,
    pictures,
    without_times,
)

from auditor.cli.console import PlainConsole
from auditor.cli.terminal import Screen
from auditor.protocols.events import AttemptProgress, AttemptStarted, CheckStarted
from auditor.registry import load_registry

#: The gradient is zero, the scores are those of the model without it.
MASKED = MODEL.replace(
    "class Bands",
    """class Blind(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)


class Bands""",
).replace("self.linear(x.flatten(1))", "self.linear(Blind.apply(x).flatten(1))")

PLUGIN = """
from dataclasses import dataclass
import torch
from auditor.api import (
    SCORES, CheckReport, PositiveInt, State, Symptom, attack, check, hookimpl, not_applicable, param
)

@attack(name="brighter", norms={"linf"}, needs=SCORES, reference="none: one band brighter")
@dataclass(frozen=True)
class Brighter:
    steps: PositiveInt = param(3, "bands to try")

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        band = (task.step % 3)[:, None, None, None]
        column = torch.arange(6) // 2
        return State(x=task.ball.project(task.x + task.ball.epsilon * (2 * (column == band) - 1)))

@check(name="bands", reference="none: a test")
@dataclass(frozen=True)
class Bands:
    most: PositiveInt = param(1000, "images to look at")

    def run(self, probe):
        rows = probe.survivors(self.most)
        if not len(rows):
            return not_applicable("every image fell")
        found = probe.attack("brighter bands", Brighter(), rows)
        broken = int(found.broken.sum())
        symptom = Symptom("comparison", "A brighter band is enough", "mend it", kind="shattered",
                          culprit="Blind at model.py:8")
        return CheckReport(f"{broken} of {len(rows)} survivors fell to a brighter band.",
                           (symptom,) if broken else ())

@hookimpl
def auditor_checks():
    return [Bands]
"""
HEAD = CONFIG.replace("check  = []", "")
TAIL = '[[check]]\nuse = "bands"\n[plugins]\npaths = ["mine.py"]\n'


@pytest.fixture
def masked(here: Path) -> Path:
    """Four times the pictures, a masked model of them, and a check that is not fooled."""
    x, y = pictures()
    np.savez(here / "data.npz", x=np.concatenate([x] * 4), y=np.concatenate([y] * 4))
    (here / "model.py").write_text(MASKED, encoding="utf-8")
    (here / "mine.py").write_text(PLUGIN, encoding="utf-8")
    (here / "audit.toml").write_text(HEAD + TAIL, encoding="utf-8")
    return here


def model_of(audit: dict[str, Any]) -> dict[str, Any]:
    (model,) = audit["models"]
    return model  # type: ignore[no-any-return]


def test_a_hidden_gradient_is_found_and_corrects_the_accuracy(masked: Path) -> None:
    status, said = auditor("run", "audit.toml")
    assert status == 0, said  # the gate lets masking through
    directory = only_run()
    audit = audit_json(directory)
    model = model_of(audit)
    masking = model["masking"]
    fall = sum(contrast < 2 * 0.1 * 255 for contrast in CONTRASTS) / len(CONTRASTS)
    assert masking["verdict"] == "confirmed"
    assert (masking["kind"], masking["culprit"]) == ("shattered", "Blind at model.py:8")
    assert masking["location"] == {"file": "model.py", "line": 8}
    assert masking["gradient_attack_accuracy"] == 1.0
    assert masking["corrected_accuracy"] == 1 - fall == 0.5
    assert (masking["hidden"]["found"], masking["hidden"]["total"]) == (48, 96)
    assert masking["evidence"] == ["bands"]
    assert (masking["norm"], masking["epsilon_text"]) == ("linf", "0.1")
    assert len(masking["examples"]) == 4
    (threat,) = model["threats"]
    assert threat["robust"]["accuracy"] == 0.5
    assert {row["name"] for row in threat["attacks"]} == {"fgsm", "noise"}
    (check,) = model["checks"]
    assert (check["status"], check["flagged"]) == ("done", True)
    assert check["sentence"] == "48 of 96 survivors fell to a brighter band."
    assert check["attempts"][0]["trust"] == "nothing"
    assert check["forwards"] > 0
    assert "bands" in [finding["code"] for finding in model["findings"]]
    assert "48 of 96 survivors fell" in said


#: Dropout that never follows eval().
DROPPING = (
    MODEL.replace(
        "class Bands",
        """class Stubborn(nn.Dropout):
    def train(self, mode=True):
        return super().train(True)


class Bands""",
    )
    .replace("self.linear(x.flatten(1))", "self.linear(self.drop(x).flatten(1))")
    .replace(
        "        super().__init__()",
        "        super().__init__()\n        self.drop = Stubborn(0.5)",
    )
)


def test_one_fact_is_one_finding_whoever_sees_it(here: Path) -> None:
    (here / "model.py").write_text(DROPPING, encoding="utf-8")
    uses = "".join(
        f'[[check]]\nuse = "{name}"\n' for name in ("determinism", "train-mode", "batch-dependence")
    )
    (here / "audit.toml").write_text(HEAD + uses, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    model = model_of(audit_json(only_run()))
    found = {finding["code"]: finding for finding in model["findings"]}
    assert sorted(finding["code"] for finding in model["findings"]) == sorted(found)
    assert {"train-mode", "nondeterministic"} <= set(found)
    assert "determinism" not in found
    random, mode = found["nondeterministic"], found["train-mode"]
    assert any("changed answers" in line for line in random["evidence"])  # pre-flight's
    assert any("identical calls" in line for line in random["evidence"])  # the check's
    assert any("2003.01690" in line for line in random["references"])
    assert any("drop" in line for line in mode["evidence"])
    assert "where: module drop" in mode["evidence"]
    assert model["masking"]["evidence"] == ["nondeterministic", "train-mode"]
    assert all(check["flagged"] for check in model["checks"][:2])


def test_what_a_check_broke_is_kept_with_the_attacks(masked: Path) -> None:
    auditor("run", "audit.toml")
    directory = only_run()
    table = pq.read_table(directory / "samples.parquet").to_pylist()
    rows = [row for row in table if row["attack"] == "check bands"]
    assert sum(row["broken"] for row in rows) == 48
    kept = load_file(directory / "adversarial.safetensors")
    assert kept["bands/linf/0.1/check bands/x"].shape == (48, 1, 6, 6)


def test_a_finished_check_is_read_back(masked: Path) -> None:
    auditor("run", "audit.toml")
    first = only_run()
    before = without_times(audit_json(first))
    events = first / "events.jsonl"
    kept = [line for line in events.read_text().splitlines() if '"finished"' not in line]
    events.write_text("\n".join(kept) + "\n")
    (first / "audit.json").unlink()
    status, said = auditor("run", "audit.toml", "--resume")
    assert status == 0, said
    assert sum('"check"' in line for line in events.read_text().splitlines()) == 1
    assert without_times(audit_json(only_run())) == before


def test_an_honest_model_has_nothing_hidden(masked: Path) -> None:
    Path("model.py").write_text(MODEL, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    masking = model_of(audit_json(only_run()))["masking"]
    assert masking["verdict"] == "inconclusive", masking  # one check of one's own is no battery
    assert masking["summary"] == "Only 0 of 27 checks of the profile standard were run."
    assert masking["hidden"]["found"] == 0
    assert masking["gradient_attack_accuracy"] == masking["corrected_accuracy"] == 0.5


def test_confirmed_masking_breaks_the_gate_of_every_audit(masked: Path) -> None:
    gate = '[[gate]]\nmetric  = "masking"\nat_most = "confirmed"\n'
    assert gate in HEAD
    Path("audit.toml").write_text(HEAD.replace(gate, "") + TAIL, encoding="utf-8")
    status, _ = auditor("run", "audit.toml")
    audit = audit_json(only_run())
    assert (status, audit["verdict"]) == (1, "fail")


DEFECTS = {
    "raises": ("rows = probe.survivors(self.most)", 'raise OSError("disk")', "OSError: disk"),
    "no-report": ("rows = probe.survivors(self.most)", "return 7", "it returned int"),
    "exits": ("rows = probe.survivors(self.most)", "raise SystemExit(0)", "SystemExit: 0"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_crash_is_a_finding_and_no_silent_pass(name: str, masked: Path) -> None:
    line, replacement, reason = DEFECTS[name]
    Path("mine.py").write_text(PLUGIN.replace(line, replacement), encoding="utf-8")
    auditor("run", "audit.toml")
    model = model_of(audit_json(only_run()))
    (check,) = model["checks"]
    assert (check["status"], check["flagged"]) == ("error", True)
    assert reason in check["sentence"]
    assert "check-failed" in [finding["code"] for finding in model["findings"]]
    assert model["masking"]["verdict"] == "inconclusive"


def test_too_few_images_are_inconclusive(here: Path) -> None:
    Path("mine.py").write_text(PLUGIN, encoding="utf-8")
    Path("audit.toml").write_text(HEAD + TAIL, encoding="utf-8")
    auditor("run", "audit.toml")
    masking = model_of(audit_json(only_run()))["masking"]
    assert masking["verdict"] == "inconclusive"
    assert "Only 24" in masking["summary"]


def test_an_unknown_check_is_told_with_the_nearest_name(masked: Path) -> None:
    text = HEAD + TAIL.replace('use = "bands"', 'use = "band"')
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 2
    assert 'There is no check called "band"' in said
    assert 'did you mean "bands"' in said


def test_what_takes_longer_than_the_attacks_is_said_beforehand() -> None:
    said = io.StringIO()
    screen = Screen(PlainConsole(file=said))
    short = AttemptStarted("bands · check slow", "few", 3, 900, 9.0, 1.0, 20.0)
    long = AttemptStarted("bands · check slow", "all", 40, 12000, 130.4, 10.0, 20.0)
    unknown = AttemptStarted("bands · check new", "all", 40, 12000, None, 10.0, 0.0)
    assert (short.longer, long.longer, unknown.longer) == (False, True, False)
    with screen:
        for event in (CheckStarted("bands · check slow", 12900, 139.0), short,
                      AttemptProgress(3, 1), long, long, unknown):  # fmt: skip
            screen(event)
    assert said.getvalue().splitlines() == [
        "bands · check slow, all: up to 2 min 10 s on 40 images, verification apart (the attacks "
        "took 20 s)"
    ]


def test_the_log_says_it_too(masked: Path) -> None:
    """Attacks of no time at all, so that any check takes longer."""
    plugin = Path("mine.py").read_text(encoding="utf-8")
    steps = plugin.replace('param(3, "bands to try")', 'param(100, "bands to try")')
    Path("mine.py").write_text(steps, encoding="utf-8")
    auditor("run", "audit.toml")
    (line,) = [
        json.loads(text)
        for text in (only_run() / "events.jsonl").read_text(encoding="utf-8").splitlines()
        if "check may take longer" in text
    ]
    assert (line["check"], line["attempt"]) == ("bands · check bands", "brighter bands")
    assert (line["images"], line["passes"]) == (96, 96 * 101)
    assert line["spent"] + line["seconds"] > line["attacks"] > 0


def test_the_plan_lists_checks(masked: Path) -> None:
    """With their cost where they say it."""
    status, said = auditor("run", "audit.toml", "--plan")
    assert status == 0
    (row,) = [line for line in said.splitlines() if "check bands" in line]
    assert row.count("not told") == 2
    assert "1 of the checks does not say what it takes." in " ".join(said.split())
    Path("mine.py").write_text(
        Path("mine.py").read_text(encoding="utf-8").replace(
            "    def run(self, probe)",
            "    def cost(self, images, classes, *, random):\n"
            "        return 4 * images, classes + random\n\n    def run(self, probe)",
        ),
        encoding="utf-8",
    )  # fmt: skip
    _, said = auditor("run", "audit.toml", "--plan")
    (row,) = [line for line in said.splitlines() if "check bands" in line]
    assert row.split() == ["check", "bands", "96", "384", "3"]


GATES = """
[[gate]]
metric   = "top score exactly 1"
at_most  = 0
[[gate]]
metric   = "distinct rows of scores"
at_least = 97
[[gate]]
metric   = "agreement of gradients between draws"
at_least = 0.5
[[gate]]
metric   = "clean_accuracy"
at_least = 1
"""


def test_gates_on_what_checks_measure(masked: Path) -> None:
    """24 of 96 pictures differ, no score is 1, and answers that do not vary have no draws."""
    every = "".join(f'[[check]]\nuse = "{name}"\n' for name in load_registry().checks)
    Path("audit.toml").write_text(HEAD + every + GATES, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 1, said
    audit = audit_json(only_run())
    gates = {gate["metric"]: gate for gate in audit["gates"]}
    assert [(gates[name]["value"], gates[name]["holds"]) for name in list(gates)[1:5]] == [
        (0.0, True), (24.0, False), (None, None), (1.0, True),
    ]  # fmt: skip
    assert gates["distinct rows of scores"]["reason"] == (
        "Gate on distinct rows of scores is broken for bands: at least 97 is asked for, and it is "
        "24."
    )
    assert gates["agreement of gradients between draws"]["reason"].endswith("no check measured it.")
    # Whatever is measured can be gated; but layers have the names that the model gives them.
    able = {name for spec in load_registry().checks.values() for name in spec.measures}
    found = {
        one["name"] for one in model_of(audit)["measurements"] if "error of" not in one["name"]
    }
    assert len(found) > 20
    assert found <= able
    # A finished run can be judged by another of its measurements.
    one = 'gate=[{metric="top score exactly 1",at_most=0}]'
    assert auditor("gate", str(only_run()), "--set", one)[0] in (0, 1)
    assert audit_json(only_run())["gates"][0]["holds"] is True
    status, said = auditor("gate", str(only_run()), "--set", one.replace("exactly", "nearly"))
    assert (status, "or what a check of this audit measures:" in said) == (2, True)
