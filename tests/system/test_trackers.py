"""Trackers: what they keep of an audit that was cut off and gone on with, by their own readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from system_files import CONFIG, audit_json, auditor, process, run_directories, write_audit

from auditor.registry import load_registry

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = {"audit.json", "config.lock.toml", "SHA256SUMS", "report.md", "junit.xml"}
INTERRUPT = """
from auditor.api import CellDone, hookimpl, sink

@sink(name="interrupt")
def interrupt(event):
    if isinstance(event, CellDone):
        raise KeyboardInterrupt

@hookimpl
def auditor_sinks():
    return [interrupt]
"""
MINE = '''
from dataclasses import dataclass
from pathlib import Path
from auditor.api import PositiveInt, hookimpl, param, tracker

@tracker(name="mine")
@dataclass(frozen=True)
class Mine:
    """A tracker that gives up after some events."""

    most: PositiveInt = param(1000, "events")
    file: str = param("heard.txt", "where they are noted")

    def listener(self):
        heard = []

        def receive(event):
            heard.append(type(event).__name__)
            Path(self.file).write_text(" ".join(heard))
            if len(heard) > self.most:
                raise ConnectionError("the server went away")

        return receive


@tracker(name="needy", package="not_installed_at_all", install="pip install acme")
@dataclass(frozen=True)
class Needy:
    """Cannot be used here."""

    def listener(self):
        raise AssertionError


@hookimpl
def auditor_trackers():
    return [Mine, Needy]
'''


def tracked(*names: str, **keys: str) -> str:
    tables = "".join(f'\n[[track]]\nuse = "{name}"\n{keys.get(name, "")}\n' for name in names)
    return CONFIG.replace("formats = []", 'formats = ["markdown", "junit"]') + tables


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of an audit that was cut off after its first cell, and gone on with."""
    for package in ("tensorboard", "mlflow", "wandb"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("recorded")
    write_audit(folder)
    text = tracked("tensorboard", "mlflow", "wandb", mlflow='uri = "file:mlruns"')
    (folder / "audit.toml").write_text(text)
    (folder / "interrupt.py").write_text(INTERRUPT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(folder / name))
        stopped = process("run", "audit.toml", "-p", "interrupt.py")
        assert stopped.returncode == 130, stopped.stderr
        done = process("run", "audit.toml")
        assert done.returncode == 0, done.stderr
        assert "switched off" not in done.stdout, done.stdout
        assert "kept from before" in done.stdout
    (directory,) = run_directories(folder)
    return directory


def accuracies(directory: Path) -> dict[str, float]:
    """Those that every tracker has to have, by its names."""
    (model,) = audit_json(directory)["models"]
    (threat,) = model["threats"]
    return {
        "clean_accuracy/bands": model["clean"]["accuracy"],
        "robust_accuracy/bands/linf/0.1": threat["robust"]["accuracy"],
        "robust_accuracy_low/bands/linf/0.1": threat["robust"]["ci95"][0],
        **{
            f"attack_accuracy/bands/linf/0.1/{row['label']}": row["robust"]["accuracy"]
            for row in threat["attacks"]
        },
    }


def test_tensorboard(recorded: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(recorded / "tensorboard"))
    seen.Reload()
    for name, value in accuracies(recorded).items():
        (one,) = seen.Scalars(name)
        assert one.value == pytest.approx(value, abs=1e-6)
    curve = [(one.step, one.value) for one in seen.Scalars("robust_accuracy_curve/bands/linf")]
    assert curve == [(0, 1.0), (100_000, 0.5)]
    assert [one.step for one in seen.Scalars("progress")] == [1, 2], "of the second session"
    text = seen.Tensors("summary/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert text == (recorded / "report.md").read_text()
    assert "hparams" in seen.summary_metadata["_hparams_/experiment"].plugin_data.plugin_name


def test_mlflow(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(f"file:{recorded.parents[1] / 'mlruns'}")
    experiment = client.get_experiment_by_name("auditor")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((recorded / "trackers.json").read_text())["mlflow"]
    assert (run.info.run_name, run.info.status) == (recorded.name, "FINISHED")
    assert accuracies(recorded).items() <= run.data.metrics.items()
    points = client.get_metric_history(run.info.run_id, "robust_accuracy_curve/bands/linf")
    assert sorted((one.step, one.value) for one in points) == [(0, 1.0), (100_000, 0.5)]
    assert run.data.params["run.seed"] == "0"
    assert run.data.params["attack.1.samples"] == "4"
    assert not [name for name in run.data.params if name.startswith("track")], "may hold secrets"
    assert run.data.tags["auditor.verdict"] == "no-requirement"
    assert run.data.tags["auditor.masking/bands"] == "inconclusive"
    assert run.data.tags["mlflow.note.content"] == (recorded / "report.md").read_text()
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == ARTEFACTS


def wandb_records(file: Path) -> Iterator[Any]:
    """What a file of wandb holds: protocol buffers in a log with blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts = (parts if kind in (3, 4) else b"") + data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield Record.FromString(parts)


def test_wandb(recorded: Path) -> None:
    run = json.loads((recorded / "trackers.json").read_text())["wandb"]
    first, second = sorted((recorded / "wandb").glob("offline-run-*/*.wandb"))
    assert first.name == second.name == f"run-{run}.wandb", "one run for wandb sync"
    records = list(wandb_records(second))
    history = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json)
         for item in record.history.item}
        for record in records if record.HasField("history")
    ]  # fmt: skip
    logged = {name: value for row in history for name, value in row.items()}
    assert accuracies(recorded).items() <= logged.items()
    name = "robust_accuracy_curve/bands/linf"
    assert [(row["epsilon"], row[name]) for row in history if name in row] == [(0, 1.0), (0.1, 0.5)]
    begun = next(record.run for record in records if record.HasField("run"))
    assert (begun.run_id, begun.project, begun.display_name) == (run, "auditor", recorded.name)
    config = {one.key: json.loads(one.value_json) for one in begun.config.update}
    assert config["run.seed"] == "0"
    told = {one.key: json.loads(one.value_json) for record in records
            for one in record.summary.update if one.key}  # fmt: skip
    assert told["verdict"] == "no-requirement"
    (artefact,) = [record.artifact for record in records if record.HasField("artifact")]
    assert {one.path for one in artefact.manifest.contents} == ARTEFACTS


def test_a_plugin_of_the_users_own(here: Path) -> None:
    Path("mine.py").write_text(MINE)
    Path("audit.toml").write_text(tracked("mine", mine='file = "events.txt"'))
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 0, said
    heard = Path("events.txt").read_text().split()
    assert heard.index("RunStarted") < heard.index("RunFinished")
    assert heard[-1] == "ReportsWritten"
    assert 'use = "mine"' in (run_directories()[0] / "config.lock.toml").read_text()
    assert "\nmine" in auditor("list", "sinks", "-p", "mine.py")[1]
    status, said = auditor("show", "mine", "-p", "mine.py")
    assert (status, "[[track]]" in said, 'file = "heard.txt"' in said) == (0, True, True)


@pytest.mark.parametrize("most", [1, 3, 8])
def test_one_that_fails_costs_itself_alone(most: int, here: Path) -> None:
    Path("mine.py").write_text(MINE)
    Path("audit.toml").write_text(tracked("mine", mine=f"most = {most}"))
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 0
    told = " ".join(said.split())
    assert "its tracker mine was switched off: on" in told
    assert "it raised ConnectionError: the server went away (at mine.py:21)" in told
    assert len(Path("heard.txt").read_text().split()) == most + 1, "and is asked no more"
    assert (run_directories()[0] / "report.md").is_file()


def test_a_store_without_the_run_is_told(recorded: Path, here: Path, tmp_path: Path) -> None:
    """The audit was begun in a run that is not there any more."""
    from auditor.errors import LoadError
    from auditor.protocols.events import RunStarted

    spec = load_registry().trackers["mlflow"]
    listener = spec.build({"uri": f"file:{tmp_path / 'empty'}"}).listener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        with pytest.raises(LoadError, match=r"cannot be gone on with") as caught:
            listener(RunStarted(recorded, True, "cpu", 1, 8, 24, 1))
    assert "remove trackers.json" in caught.value.remedy


def test_what_is_not_installed_is_told_before_anything_runs(here: Path) -> None:
    Path("mine.py").write_text(MINE)
    Path("audit.toml").write_text(tracked("needy"))
    status, said = auditor("validate", "audit.toml", "-p", "mine.py")
    assert status == 4
    assert 'The tracker "needy" needs the package not_installed_at_all' in said
    assert "remedy:   pip install acme" in said


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_the_extra_that_is_named_installs_the_package(name: str) -> None:
    spec = load_registry().trackers[name]
    extra = spec.install.partition("[")[2].partition("]")[0]
    extras = tomlkit.parse((ROOT / "pyproject.toml").read_text())["project"]
    packages = extras["optional-dependencies"][extra]  # type: ignore[index]
    assert any(one.startswith(spec.package) for one in packages)
