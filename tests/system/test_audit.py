"""A whole audit through the command line: every file it leaves is read back, and checked again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from system_contract import COLUMNS, FILES, KEYS
from system_example import (
    ATTACKS,
    FACTORIES,
    IMAGES,
    THREATS,
    example_config,
    example_images,
    example_model,
)
from system_files import (
    audit_json,
    auditor,
    only_run,
    process,
    run_directories,
    verdicts,
    without_times,
)

from auditor import read
from auditor.results import from_json, json_schema, to_json

#: What storing a pixel in float32 costs, for a distance in each norm over 784 pixels.
SLACK = {"linf": 1.2e-7, "l2": 28 * 1.2e-7}


@dataclass(frozen=True)
class Run:
    home: Path
    directory: Path
    said: subprocess.CompletedProcess[str]

    @property
    def audit(self) -> dict[str, Any]:
        return audit_json(self.directory)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    home = tmp_path_factory.mktemp("example")
    (home / "audit.toml").write_text(example_config(formats=("html", "pdf")), encoding="utf-8")
    said = process("run", "audit.toml", cwd=home)
    return Run(home, only_run(home), said)


def test_exit_status_and_what_is_printed(run: Run) -> None:
    assert run.said.returncode == 0, run.said.stderr
    assert run.said.stderr == ""
    assert "Verdict: no-requirement; exit status 0." in run.said.stdout
    assert f"report: audits/{run.directory.name}/report.html" in run.said.stdout


def test_run_directory(run: Run) -> None:
    assert {path.name for path in run.directory.iterdir()} == FILES
    assert (run.directory / "report.pdf").read_bytes().startswith(b"%PDF-")
    cells = list((run.directory / "cells").iterdir())
    assert {path.suffix for path in cells} == {".safetensors"}
    events = [
        json.loads(line) for line in (run.directory / "events.jsonl").read_text().splitlines()
    ]
    done = [event["event"] for event in events]
    assert [done[0], *done[-3:]] == ["started", "result", "reports", "finished"]
    assert events[-2]["files"] == ["report.html", "report.pdf"]
    blocks = len(FACTORIES) * 3 * len(ATTACKS)
    assert done.count("cell") > blocks, "no sample of any survivors"
    assert done.count("check") == sum(len(model["checks"]) for model in run.audit["models"]) > 0
    assert done.count("cell") + done.count("check") == len(cells)


def _at(value: Any, path: str) -> Iterator[Any]:
    for part in filter(None, path.split(".")):
        value = [
            inner
            for one in (value if isinstance(value, list) else [value])
            for inner in (one if part == "*" else [one[part]])
        ]
    yield from value if isinstance(value, list) else [value]


@pytest.mark.parametrize("path", KEYS)
def test_every_key_of_the_contract_is_there(run: Run, path: str) -> None:
    found = list(_at([run.audit], path))
    assert found or path == "models.*.findings.*"
    for value in found:
        assert KEYS[path] <= set(value), path


def test_the_schema_knows_every_key_of_the_contract() -> None:
    status, said = auditor("schema", "result")
    schema = json.loads(said)
    assert (status, schema) == (0, json_schema())
    properties = [set(table["properties"]) for table in [schema, *schema["$defs"].values()]]
    for path, keys in KEYS.items():
        assert any(keys <= names for names in properties), path


def test_result_reads_back_the_same(run: Run) -> None:
    text = (run.directory / "audit.json").read_text(encoding="utf-8")
    assert to_json(from_json(text)) == text
    audit = run.audit
    assert audit["schema"] == "auditor.audit/1"
    assert (audit["status"], audit["verdict"], audit["exit_status"]) == (
        "complete",
        "no-requirement",
        0,
    )
    assert audit["profile"] == "quick/5, extended"
    assert [model["name"] for model in audit["models"]] == list(FACTORIES)
    assert set(audit["provenance"]["hashes"]) == {
        "configuration",
        "data",
        *(f"model:{name}" for name in FACTORIES),
    }


def _columns(run: Run) -> dict[tuple[str, str, float, str], dict[str, NDArray[Any]]]:
    """The rows of samples.parquet by model, norm, epsilon and attack."""
    table = pq.read_table(run.directory / "samples.parquet").to_pylist()
    groups = defaultdict(list)
    for row in table:
        groups[row["model"], row["threat"], row["epsilon"], row["attack"]].append(row)
    return {
        key: {name: np.array([row[name] for row in rows]) for name in COLUMNS}
        for key, rows in groups.items()
    }


def test_columns_of_the_samples(run: Run) -> None:
    table = pq.read_table(run.directory / "samples.parquet")
    types = {field.name: str(getattr(field.type, "value_type", field.type))
             for field in table.schema}  # fmt: skip
    assert types == COLUMNS
    attacks = [name for name in table["attack"].to_pylist() if not name.startswith("check ")]
    assert len(attacks) == len(FACTORIES) * 3 * len(ATTACKS) * IMAGES


def test_samples_agree_with_the_result(run: Run) -> None:
    columns, labels = _columns(run), example_images()[1].numpy()
    for model in run.audit["models"]:
        for threat in model["threats"]:
            fallen = np.zeros(IMAGES, bool)
            for smaller in model["threats"]:
                if smaller["norm"] == threat["norm"] and smaller["epsilon"] <= threat["epsilon"]:
                    for row in smaller["attacks"]:
                        key = model["name"], threat["norm"], smaller["epsilon"], row["label"]
                        fallen |= columns[key]["broken"]
            for row in threat["attacks"]:
                own = columns[model["name"], threat["norm"], threat["epsilon"], row["label"]]
                correct = own["clean_prediction"] == own["label"]
                assert (own["label"] == labels[own["id"]]).all()
                assert model["clean"]["correct"] == correct.sum()
                assert row["robust"]["correct"] == (correct & ~own["broken"]).sum()
                assert row["robust_8bit"]["correct"] == (correct & ~own["broken_8bit"]).sum()
                assert row["broken"] == own["broken"].sum()
                assert row["forwards"] + row["backwards"] == own["passes"].sum()
                assert not (own["broken"] & ~correct).any()
                assert not (own["broken_8bit"] & ~own["broken"]).any()
            assert threat["robust"]["correct"] == (correct & ~fallen).sum()


def test_images_are_balanced_and_the_same_for_all(run: Run) -> None:
    ids = [tuple(columns["id"]) for columns in _columns(run).values()]
    assert len(set(ids)) == 1
    labels = next(iter(_columns(run).values()))["label"]
    assert np.bincount(labels).tolist() == [IMAGES // 10] * 10


@pytest.mark.parametrize("name", FACTORIES)
def test_every_stored_example_is_adversarial(run: Run, name: str) -> None:
    stored = load_file(run.directory / "adversarial.safetensors")
    images, labels = example_images()
    model, columns, seen = example_model(name), _columns(run), 0
    for key in [key for key in stored if key.startswith(f"{name}/") and key.endswith("/x")]:
        _, norm, epsilon, label, _ = key.split("/")
        x, ids = stored[key], stored[key.removesuffix("x") + "id"]
        rows = columns[name, norm, float(epsilon), label]
        assert ids.tolist() == rows["id"][rows["broken"]].tolist()
        assert x.dtype == torch.float32
        assert ((x >= 0) & (x <= 1)).all()
        change = (x.double() - images[ids]).flatten(1)
        distance = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
        assert (distance <= float(epsilon) + SLACK[norm]).all()
        assert distance.numpy() == pytest.approx(rows["norm"][rows["broken"]], abs=1e-6)
        with torch.no_grad():
            prediction = model(x).argmax(1)
        assert (prediction != labels[ids]).all()
        assert prediction.tolist() == rows["prediction"][rows["broken"]].tolist()
        seen += len(x)
    assert seen == sum(rows["broken"].sum() for key, rows in columns.items() if key[0] == name) > 0


def test_read_gives_all_of_it(run: Run) -> None:
    for named in (run.directory, run.directory / "audit.json", str(run.directory)):
        mine = read(named)
        assert to_json(mine.result).encode() == mine.raw
        assert mine.raw == (run.directory / "audit.json").read_bytes()
    rows = pq.read_table(run.directory / "samples.parquet").to_pylist()
    assert repr(mine.samples.to_pylist()) == repr(rows)  # NaN is not equal to itself
    columns, stored, seen = _columns(run), load_file(run.directory / "adversarial.safetensors"), 0
    for found in mine.examples():
        rows = columns[found.model, found.norm, found.epsilon, found.attack]
        assert found.ids.tolist() == rows["id"][rows["broken"]].tolist()
        x = stored[f"{found.model}/{found.norm}/{found.epsilon}/{found.attack}/x"]
        assert (found.x == x.numpy()).all()
        seen += 1
    assert seen == len(stored) / 2 > 0


def test_an_image_is_known_by_its_content(run: Run) -> None:
    """By image: one label each; and no two images are one."""
    columns = list(_columns(run).values())
    assert len({tuple(rows["image"]) for rows in columns}) == 1
    assert len(set(columns[0]["image"])) == IMAGES


def test_the_nearest_example_is_no_further_than_the_stored_one(run: Run) -> None:
    for rows in _columns(run).values():
        broken = rows["broken"]
        assert (rows["nearest"][broken] <= rows["norm"][broken] + 1e-6).all()


def test_robust_accuracy_falls_with_epsilon(run: Run) -> None:
    for model in run.audit["models"]:
        small, large = (t["robust"]["correct"] for t in model["threats"] if t["norm"] == "linf")
        assert large < small < model["clean"]["correct"]
        assert [t["epsilon"] for t in model["threats"] if t["norm"] == "linf"] == [*THREATS["linf"]]


@pytest.mark.slow
def test_lock_file_gives_the_same_result(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text(example_config(), encoding="utf-8")
    arguments = ("--fresh", "--set", "report.formats=[]")
    lock = run.directory / "config.lock.toml"
    copy = run.home / "copy.lock.toml"
    copy.write_bytes(lock.read_bytes())
    status, said = auditor("run", str(copy), *arguments, "--set", "run.output=again")
    assert status == 0, said
    (again,) = (run.home / "again").iterdir()
    first, second = without_times(run.audit), without_times(audit_json(again))
    for audit in (first, second):  # where the reports go and what they are is not the same
        del audit["provenance"]["hashes"]["configuration"], audit["profile"]
        for model in audit["models"]:  # the model's fastest form is measured anew: other rounding
            del model["measurements"], model["masking"]["directions"]
    assert second == first
    assert repr(verdicts(again)) == repr(verdicts(run.directory))


def test_reports_are_rendered_again_byte_for_byte(run: Run) -> None:
    html = run.directory / "report.html"
    before = html.read_bytes()
    html.unlink()
    status, said = auditor("report", str(run.directory), "--format", "html")
    assert status == 0, said
    assert html.read_bytes() == before


def test_a_report_is_rendered_again_in_another_language(run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(run.directory, tmp_path / "copy")
    said = process("report", str(copy), "--format", "html", "--language", "zh", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    for words in ("鲁棒准确率", "梯度掩蔽", "对抗样本", "张图像"):
        assert words in page
    assert "Robust accuracy" not in page
    assert "未翻译" not in page, "every sentence of an audit without plugins has a translation"
    said = process("report", str(copy), "--language", "zn", cwd=tmp_path)
    assert said.returncode == 2
    assert "expected: one of: en, zh" in said.stderr


def test_plan_runs_nothing(run: Run) -> None:
    said = process("run", "audit.toml", "--set", "report.formats=[]", "--plan", cwd=run.home)
    assert said.returncode == 0, said.stderr
    assert "Nothing was run." in said.stdout
    assert run_directories(run.home) == [run.directory]
