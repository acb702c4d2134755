"""What a user reads when the model, its weights or the data are broken: golden messages.

broken/NAME.txt holds exit status and output of `auditor run`. After a deliberate change, rewrite
them with AUDITOR_UPDATE_GOLDEN=1, and read what `git diff` shows as its reader would.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from broken_data import BROKEN_DATA
from broken_models import AUDITED, BROKEN_MODELS
from broken_weights import BROKEN_WEIGHTS
from system_files import (
    CONFIG,
    MODEL,
    attack_rows,
    audit_json,
    auditor,
    only_run,
    pictures,
    run_directories,
    settled,
)

from auditor.subject.loading import Factory, Weights, load_module

GOLDEN = Path(__file__).parent / "broken"
DEVICE = "device-missing"


#: What others say, and would say otherwise in another version.
FOREIGN = {
    r"(?<=while decompressing data: ).*": "<reason>.",
    r"(?<=Error while deserializing header: ).*": "<reason>",
    r"(?<=raised RuntimeError: )(Given groups|addmm|mat1).*": "<what torch says>",
    r"(?<=frozen importlib\._bootstrap>:)\d+": "<line>",
    r"(?<=expected: one of: )cpu\b.*": "<the devices of this machine>",
}


def check(name: str, exit_status: int, here: Path) -> None:
    """Run the audit, and compare status and output with what is expected."""
    status, said = auditor("run", "audit.toml")
    said = f"exit status {status}\n\n{settled(said, here)}"
    for foreign, words in FOREIGN.items():
        said = re.sub(foreign, words, said)
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("AUDITOR_UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert status == exit_status, said
    assert said == golden.read_text(encoding="utf-8")
    if exit_status in (2, 4):
        assert not run_directories()


def replace_in_config(old: str, new: str) -> None:
    assert old in CONFIG
    Path("audit.toml").write_text(CONFIG.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", BROKEN_DATA)
def test_data(name: str, here: Path) -> None:
    case = BROKEN_DATA[name]
    case.write(*pictures())
    replace_in_config('path    = "data.npz"', case.keys)
    check(name, case.exit_status, here)


@pytest.mark.parametrize("name", BROKEN_MODELS)
def test_model(name: str, here: Path) -> None:
    case = BROKEN_MODELS[name]
    source = case.source if case.alone else MODEL + case.source
    Path("model.py").write_text(source, encoding="utf-8")
    replace_in_config('factory = "model.py:make"', case.keys)
    check(name, case.exit_status, here)


@pytest.mark.parametrize("name", BROKEN_WEIGHTS)
def test_weights(name: str, here: Path) -> None:
    case = BROKEN_WEIGHTS[name]
    factory = Factory("model.py:make", here / "model.py", "make")
    module, _ = load_module("bands", factory, {}, Weights())
    case.write(Path(case.file), module.state_dict())
    line = 'factory = "model.py:make"'
    replace_in_config(line, f'{line}\nweights = "{case.file}"')
    check(name, case.exit_status, here)


def test_device(here: Path) -> None:
    replace_in_config('"cpu"', '"cuda:99"')
    check(DEVICE, 4, here)


@pytest.mark.parametrize("name", AUDITED)
def test_result_of_a_broken_model(name: str, here: Path) -> None:
    case = AUDITED[name]
    Path("model.py").write_text(MODEL + case.source, encoding="utf-8")
    replace_in_config('factory = "model.py:make"', case.keys)
    status, _ = auditor("run", "audit.toml", "--set", 'report.formats=["html"]')
    directory = only_run()
    audit = audit_json(directory)
    rows = attack_rows(audit)
    assert (directory / "report.html").stat().st_size > 10_000
    assert audit["exit_status"] == status == case.exit_status
    assert audit["status"] == ("complete" if status == 0 else "incomplete")
    assert (rows["fgsm"]["status"], rows["noise"]["status"]) == (case.fgsm, case.noise)
    found = {finding["code"]: finding for finding in audit["models"][0]["findings"]}
    assert set(case.findings) <= set(found)
    assert all(finding["evidence"] and finding["remedy"] for finding in found.values())
    for row in rows.values():
        assert (row["robust"] is None) == (row["status"] != "done")
        assert row["reason"] or row["status"] == "done"


def test_expected_accuracy_stops_the_run_and_says_why(here: Path) -> None:
    replace_in_config('"data.npz"', '"data.npz"\nexpected_accuracy = 0.5')
    status, _ = auditor("run", "audit.toml", "--set", 'report.formats=["html"]')
    directory = only_run()
    audit = audit_json(directory)
    assert (status, audit["verdict"], audit["status"]) == (3, "inconclusive", "incomplete")
    rows = attack_rows(audit)
    assert {row["status"] for row in rows.values()} == {"skipped"}
    assert all("50.0% was expected" in row["reason"] for row in rows.values())
    assert audit["models"][0]["findings"][-1]["code"] == "clean-accuracy"
    assert audit["models"][0]["threats"][0]["robust"] is None
    assert "50.0% was expected" in (directory / "report.html").read_text(encoding="utf-8")


def test_a_crash_in_one_attack_costs_that_attack_alone(here: Path) -> None:
    case = AUDITED["model-crashes-when-attacked"]
    Path("model.py").write_text(MODEL + case.source, encoding="utf-8")
    auditor("run", "audit.toml")
    rows = attack_rows(audit_json(only_run()))
    assert rows["fgsm"]["reason"] == "RuntimeError: no gradients on this device (at model.py:30)"
    assert rows["noise"]["robust"]["total"] == 24


def test_every_message_has_its_case() -> None:
    names = [*BROKEN_DATA, *BROKEN_MODELS, *BROKEN_WEIGHTS, DEVICE]
    assert len(names) == len(set(names))
    assert sorted(path.stem for path in GOLDEN.glob("*")) == sorted(names)
