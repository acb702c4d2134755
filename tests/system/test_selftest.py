"""`auditor selftest`: counting, keeping, printing; and the verdict on two reference defenses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from system_files import audit_json, only_run
from system_files import auditor as auditor_says
from typer.testing import CliRunner

import auditor.selftest
from auditor.cli import app
from auditor.registry import auditor_version
from auditor.results import Masking, MaskingVerdict, SelftestRecord, SelftestRow
from auditor.selftest import defenses, storage
from auditor.selftest.examine import Examined, summed_up
from auditor.selftest.references import REFERENCES, Reference

DATA = Path(auditor.selftest.__file__).parent / "data"
BY_NAME = {reference.name: reference for reference in REFERENCES}
RECORD = SelftestRecord(
    auditor_version(), "2026-11-20T23:12:05+00:00", 8, 1, 0,
    (SelftestRow("zero-gradient", ("suspected", "confirmed"), "none"),),
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the record is kept; it does not exist yet."""
    directory = tmp_path / "state" / "auditor"
    monkeypatch.setenv(storage.DIRECTORY_VARIABLE, str(directory))
    monkeypatch.setenv("COLUMNS", "160")
    return directory


def says(verdicts: dict[str, MaskingVerdict]) -> Callable[..., Examined]:
    """In the place of an audit: right verdicts, but for those given."""

    def examine(reference: Reference, folder: Path, profile: str, _: object) -> Examined:
        right: MaskingVerdict = "confirmed" if reference.masks else "none"
        verdict = verdicts.get(reference.name, right)
        kind = "shattered" if reference.masks else None
        culprit = "round at defenses.py:[60]" if reference.masks else None
        masking = Masking(verdict, "Because.", kind, culprit, corrected_accuracy=0.25)
        return Examined(reference, masking, 1.5)

    return examine


@pytest.fixture
def audits_say(state: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda **verdicts: monkeypatch.setattr(
        "auditor.selftest.examine.examine",
        says({name.replace("_", "-"): verdict for name, verdict in verdicts.items()}),
    )


def test_the_references() -> None:
    assert len(BY_NAME) == len(REFERENCES)
    masks = [reference for reference in REFERENCES if reference.masks]
    assert (len(masks), len(REFERENCES) - len(masks)) == (9, 5)


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
def test_each_reference_classifies_the_images(reference: Reference) -> None:
    """Enough for a verdict, which needs 50; and each is the CNN that its weights are of."""
    model = getattr(defenses, reference.factory)().eval()
    model.load_state_dict(load_file(DATA / f"{reference.weights}.safetensors"))
    with np.load(DATA / "images.npz") as images:
        x = torch.from_numpy(images["x"])[:, None] / 255
        y = torch.from_numpy(images["y"])
    torch.manual_seed(0)
    with torch.no_grad():
        scores = model(x)
    assert int((scores.argmax(1) == y).sum()) >= 100
    if reference.outputs == "probabilities":
        torch.testing.assert_close(scores.sum(1), torch.ones(len(y)))


@pytest.mark.parametrize(
    ("name", "verdict", "counts"),
    [
        ("zero-gradient", "confirmed", (1, 0, 0)),
        ("zero-gradient", "suspected", (1, 0, 0)),
        ("zero-gradient", "possible", (0, 1, 0)),
        ("zero-gradient", "none", (0, 1, 0)),
        ("zero-gradient", "inconclusive", (0, 1, 0)),
        ("pgd-blur", "confirmed", (0, 0, 1)),
        ("pgd-blur", "suspected", (0, 0, 1)),
        ("pgd-blur", "possible", (0, 0, 0)),
        ("pgd-blur", "none", (0, 0, 0)),
        ("pgd-blur", "inconclusive", (0, 0, 0)),
    ],
)
def test_counting(name: str, verdict: MaskingVerdict, counts: tuple[int, int, int]) -> None:
    record = summed_up([Examined(BY_NAME[name], Masking(verdict, ""), 0.0)])
    assert (record.hits, record.misses, record.false_alarms) == counts
    assert record.version == auditor_version()
    assert record.rows == (SelftestRow(name, BY_NAME[name].expected, verdict),)


def test_what_is_kept_is_read_again(state: Path) -> None:
    assert storage.stored() is None
    storage.store(dataclasses.replace(RECORD, hits=3))
    file = storage.store(RECORD)
    assert file == state / "selftest.json"
    assert list(state.iterdir()) == [file]
    assert storage.stored() == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "\udcff\udcfe"])
def test_a_damaged_record_is_none(state: Path, text: str) -> None:
    state.mkdir(parents=True)
    (state / "selftest.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert storage.stored() is None


def test_another_versions_record_is_none(state: Path) -> None:
    storage.store(dataclasses.replace(RECORD, version="0.0.1"))
    assert storage.stored() is None


def test_audits_quote_the_record(here: Path, state: Path) -> None:
    storage.store(RECORD)
    status, said = auditor_says("run", "audit.toml")
    assert status == 0, said
    quoted = audit_json(only_run())["selftest"]
    assert (quoted["hits"], quoted["misses"], quoted["false_alarms"]) == (8, 1, 0)
    assert quoted["date"] == RECORD.date


def test_audits_do_without_a_record(here: Path, state: Path) -> None:
    assert auditor_says("run", "audit.toml")[0] == 0
    assert audit_json(only_run())["selftest"] is None


def test_all_is_well(audits_say: Callable[..., None]) -> None:
    audits_say()
    status, said = auditor_says("selftest")
    assert status == 0, said
    assert "9 of 9 masks found, 0 missed; 0 false alarms on 5 honest controls." in said
    assert all(name in said for name in BY_NAME)
    assert "round at defenses.py:[60]" in said
    assert "25.0%" in said
    assert "inconclusive" not in said
    kept = storage.stored()
    assert kept is not None
    assert (kept.hits, kept.misses, kept.false_alarms, len(kept.rows)) == (9, 0, 0, 14)


def test_misses_and_false_alarms(audits_say: Callable[..., None]) -> None:
    audits_say(zero_gradient="none", one_hot="inconclusive", pgd_blur="suspected",
               undefended="inconclusive")  # fmt: skip
    status, said = auditor_says("selftest")
    assert status == 1
    assert "7 of 9 masks found, 2 missed; 1 false alarms on 5 honest controls." in said
    assert "1 honest controls were inconclusive." in said
    assert "none (missed)" in said
    assert "suspected (false alarm)" in said
    kept = storage.stored()  # a bad result is as worth knowing
    assert kept is not None
    assert (kept.hits, kept.misses, kept.false_alarms) == (7, 2, 1)


def test_part_of_it_is_not_kept(audits_say: Callable[..., None], state: Path) -> None:
    audits_say()
    status, said = auditor_says("selftest", "--only", "one-hot", "--only", "undefended")
    assert status == 0
    assert "1 of 1 masks found, 0 missed; 0 false alarms on 1 honest controls." in said
    assert "zero-gradient" not in said
    status, said = auditor_says("selftest", "--profile", "quick")
    assert status == 0
    assert "Not kept" in said
    assert not state.exists()


def test_json(audits_say: Callable[..., None]) -> None:
    audits_say(one_hot="possible")
    done = CliRunner().invoke(app, ["selftest", "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert (said["hits"], said["misses"], said["false_alarms"]) == (8, 1, 0)
    assert (said["version"], said["profile"]) == (auditor_version(), "standard")
    row = {row["name"]: row for row in said["rows"]}["one-hot"]
    assert row["masks"]
    assert (row["verdict"], row["expected"]) == ("possible", ["suspected", "confirmed"])
    assert (row["kind"], row["corrected_accuracy"], row["seconds"]) == ("shattered", 0.25, 1.5)


def test_a_place_that_cannot_be_written_to(audits_say: Callable[..., None], state: Path) -> None:
    audits_say()
    state.parent.mkdir(parents=True)
    state.write_text("a file where the directory should be", encoding="utf-8")
    status, said = auditor_says("selftest")
    assert status == 0
    assert "warning: the result could not be kept for reports" in said
    assert storage.stored() is None


@pytest.mark.parametrize(
    ("option", "name", "what", "hint"),
    [
        ("--only", "one-hat", "There is no reference defense called", 'did you mean "one-hot"?'),
        ("--profile", "standart", "There is no profile called", 'did you mean "standard"?'),
    ],
)
def test_unknown_names(state: Path, option: str, name: str, what: str, hint: str) -> None:
    status, said = auditor_says("selftest", option, name)
    assert status == 2
    assert f'{what} "{name}".' in said
    assert hint in said


@pytest.mark.slow
def test_a_mask_and_an_honest_model(state: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["selftest", "--json", "--profile", "quick", "--only", "zero-gradient",
         "--only", "undefended"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["hits"], said["misses"], said["false_alarms"]) == (1, 0, 0)
    masked, honest = said["rows"]
    assert (masked["name"], masked["verdict"]) == ("zero-gradient", "confirmed")
    # Blamed is the defense's own line, not the tool's.
    assert "_Zero.apply" in masked["culprit"]
    assert "defenses.py:" in masked["culprit"]
    assert honest["verdict"] == "none"
    assert not state.exists()
