"""Composite attacks whose survivors are sampled: whole audits, against counts made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from system_files import (
    CONFIG,
    LAZY,
    audit_json,
    auditor,
    pictures,
    run_directories,
    verdicts,
)

from auditor.cells import plan
from auditor.cells.sampling import level_of
from auditor.maths.intervals import most_in_population

LAZY_CONFIG = (
    CONFIG.replace('[[attack]]\nuse = "fgsm"\n', "").replace(
        '[[attack]]\nuse     = "noise"\nsamples = 4\n', '[[attack]]\nuse = "lazy"\n'
    )
    + '[plugins]\npaths = ["lazy.py"]\n'
)


@pytest.fixture
def lazy(here: Path) -> Path:
    (here / "lazy.py").write_text(LAZY, encoding="utf-8")
    (here / "audit.toml").write_text(LAZY_CONFIG, encoding="utf-8")
    return here


def run(*arguments: str) -> tuple[Path, dict[str, Any], str]:
    """The directory of an audit, the row of its attack, and what was printed."""
    status, output = auditor("run", "audit.toml", *arguments)
    assert status in (0, 3), output
    directory = run_directories()[-1]
    row = audit_json(directory)["models"][0]["threats"][0]["attacks"][0]
    return directory, row, output


def stages(row: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {stage["name"]: (stage["images"], stage["broken"]) for stage in row["stages"]}


def test_what_breaks_an_image_of_the_sample_breaks_all_it_can(lazy: Path) -> None:
    directory, row, output = run()
    seen, broken = row["evidence"], stages(row)
    assert broken["a look"] == (24, 0)
    first, second = seen["rounds"]
    drawn = first["broken"]["FGSM"]
    assert (first["survivors"], first["sampled"]) == (24, 4)
    assert drawn >= 1
    assert first["sent_on"] == [{"part": "FGSM", "images": 20, "broken": 12 - drawn}]
    assert broken["FGSM, sent on"] == (20, 12 - drawn)
    assert (second["survivors"], second["sampled"], second["broken"]) == (12, 4, {})
    assert (seen["survivors"], seen["sampled"], seen["broken"]) == (12, 4, 0)
    assert seen["most"] == most_in_population(0, 4, 12, level_of(2, 0.9))
    assert seen["bound"] == seen["most"] / 12
    assert row["robust"]["correct"] == 12
    points = 100 * seen["most"] / 24
    assert f"at most {seen['bound']:.1%} of them ({points:.1f} points)" in " ".join(output.split())
    rows = verdicts(directory)
    assert sum(one["broken"] for one in rows) == 12
    assert sum(one["passes"] for one in rows) == row["forwards"] + row["backwards"]


def test_every_example_is_kept_and_fools_the_model(lazy: Path) -> None:
    directory, _, _ = run()
    tensors = load_file(directory / "adversarial.safetensors")
    (ids,) = (value for name, value in tensors.items() if name.endswith("/id"))
    (x,) = (value for name, value in tensors.items() if name.endswith("/x"))
    assert sorted(ids) == [one["id"] for one in verdicts(directory) if one["broken"]]
    clean, y = pictures()
    assert np.abs(x[:, 0] - clean[ids] / 255).max() <= 0.1 + 1e-6
    bands = x[:, 0].reshape(len(x), 6, 3, 2).mean((1, 3))
    assert (bands.argmax(1) != y[ids]).all()


def test_a_sample_as_large_as_the_rest_is_the_whole_battery(lazy: Path) -> None:
    _, row, output = run("--set", "attack.0.sample=50")
    seen = row["evidence"]
    assert (seen["survivors"], seen["sampled"], seen["bound"], seen["most"]) == (12, 12, 0, 0)
    assert seen["rounds"][0]["broken"] == {"FGSM": 12}
    assert "All 12 survivors were attacked with the full battery" in " ".join(output.split())


def test_neither_blocks_nor_batches_change_a_sample(
    lazy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, row, _ = run()
    monkeypatch.setattr(plan, "_BLOCK_IMAGES", 7)
    second, again, _ = run("--fresh", "--set", "run.batch_size=3")

    def known(directory: Path) -> list[tuple[int, bool]]:
        return [(one["id"], one["broken"]) for one in verdicts(directory)]

    assert known(second) == known(first)
    assert again["evidence"] == row["evidence"]


def test_a_run_that_is_resumed_reads_its_samples(
    lazy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auditor.cells.cell import CellRunner

    whole, row, _ = run()
    made, first = [], CellRunner.run

    def interrupted(self: CellRunner, cell: Any, *rest: Any) -> Any:
        if cell.further is not None and cell.further.stage == "FGSM, sent on":
            raise KeyboardInterrupt
        return first(self, cell, *rest)

    monkeypatch.setattr(CellRunner, "run", interrupted)
    assert auditor("run", "audit.toml", "--fresh")[0] == 130

    def counted(self: CellRunner, cell: Any, *rest: Any) -> Any:
        made.append(cell.further.stage)
        return first(self, cell, *rest)

    monkeypatch.setattr(CellRunner, "run", counted)
    directory, again, _ = run("--resume")
    assert directory != whole
    assert made[0] == "FGSM, sent on"
    assert again["evidence"] == row["evidence"]
    assert [one["broken"] for one in verdicts(directory)] == [
        one["broken"] for one in verdicts(whole)
    ]


def test_the_plan_has_a_line_for_the_sample(lazy: Path) -> None:
    status, output = auditor("run", "audit.toml", "--plan")
    assert status == 0
    (line,) = (line for line in output.splitlines() if "sample of survivors" in line)
    # Of four images each: one random point, and FGSM's two forward passes and a backward one.
    assert line.split()[-3:] == ["4", "12", "4"]


def test_epsilons_share_what_their_samples_showed(lazy: Path) -> None:
    """What withstands everything at 0.1 is not attacked again at 0.01."""
    directory, _, _ = run("--set", "threat.0.epsilon=[0.01, 0.1]")
    small, large = (
        threat["attacks"][0] for threat in audit_json(directory)["models"][0]["threats"]
    )
    assert large["evidence"]["larger"] == 0
    seen = small["evidence"]
    assert (seen["survivors"], seen["sampled"], seen["broken"]) == (24, 4, 0)
    held = {stage["name"]: stage["images"] for stage in small["stages"]}
    assert held.get("sample: FGSM", 0) == 4 - seen["larger"]
