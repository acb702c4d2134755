"""What is kept of a model is found again for that model alone, made and read in that way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import auditor.cells.keys as module
from auditor.cells.inputs import load_samples, load_victim
from auditor.cells.keys import subject_key
from auditor.config import load_config
from auditor.usercode.reachable import code_hash

MODEL = """
import torch
from torch import nn

from helper import SCALE


class Net(nn.Module):
    def __init__(self, depth=1):
        super().__init__()
        self.depth = depth
        self.scale = torch.tensor(SCALE)

    def forward(self, x):
        import called_later

        return x.flatten(1)[:, :3]


def make(**kwargs):
    return Net(**kwargs)


def other(**kwargs):
    return Net(**kwargs)
"""
FILES = {
    "model.py": MODEL, "second.py": MODEL, "helper.py": "SCALE = 1.0\n",
    "called_later.py": "A = 1\n", "stand_in.py": "import of_stand_in\ndef make(model): ...\n",
    "of_stand_in.py": "A = 1\n",
}  # fmt: skip
TABLES = {
    "run": {"seed": "0", "device": '"cpu"', "threads": "1"},
    "model": {"name": '"m"', "factory": '"model.py:make"'},
    "data": {"adapter": '"npz"', "path": '"data.npz"', "samples": "6"},
}
#: Every key of these tables with another value, and whether a number of the model could change.
CHANGES = [
    ("model", "name", '"n"', False),
    ("model", "factory", '"model.py:other"', True),
    ("model", "factory", '"second.py:make"', True),
    ("model", "kwargs", "{ depth = 2 }", True),
    ("model", "outputs", '"probabilities"', True),
    ("model", "output_key", '"logits"', True),
    ("model", "output_key", "1", True),
    ("model", "precision", '"float64"', True),
    ("model", "normalize", "{ mean = [0.5], std = [0.5] }", True),
    ("model", "bpda", '"stand_in.py:make"', True),
    ("data", "path", '"other.npz"', True),
    ("data", "samples", "5", True),
    ("data", "expected_accuracy", "0.9", False),
    ("run", "seed", "1", True),
    ("run", "search_precision", '"bfloat16"', True),
    ("run", "output", '"elsewhere"', False),
    ("run", "time_budget", '"1h"', False),
    ("run", "executor", '"local"', False),
]


@pytest.fixture
def here(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    x, y = np.arange(6 * 9, dtype=np.uint8).reshape(6, 3, 3), np.arange(6) % 3
    np.savez(tmp_path / "data.npz", x=x, y=y)
    np.savez(tmp_path / "other.npz", x=x + 1, y=y)
    return tmp_path


def key_of(here: Path, changes=()) -> str:
    tables = {name: dict(table) for name, table in TABLES.items()}
    for table, key, value, _ in changes:
        tables[table][key] = value
    lines = ["schema = 1"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in table.items())]
    (here / "audit.toml").write_text(
        "\n".join([*lines, '[threat]\nnorm = "linf"\nepsilon = 0.1']), encoding="utf-8"
    )
    config, registry = load_config(here / "audit.toml")
    samples = load_samples(config, registry)
    (model,) = config.models
    loaded = load_victim(model, torch.device("cpu"), registry)
    return subject_key(config, model, loaded.victim, samples, registry)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(change=st.sampled_from(CHANGES), more=st.lists(st.sampled_from(CHANGES), max_size=2))
def test_a_key_changes_with_every_setting_that_could_change_a_number(here, change, more):
    others = [one for one in more if one[:2] != change[:2]]
    same = key_of(here, others) == key_of(here, [*others, change])
    assert same is not change[3]


def test_every_key_of_the_tables_is_tried():
    from auditor.schema.tables import ModelConfig, RunConfig

    tried = {(table, key) for table, key, *_ in CHANGES}
    tried |= {("run", "device"), ("run", "threads"), ("run", "batch_size")}  # in the cell's own
    tried |= {("model", key) for key in ("weights", "checkpoint", "checkpoint_key", "loader")}
    wanted = {("run", key) for key in RunConfig.model_fields}
    assert wanted | {("model", key) for key in ModelConfig.model_fields} <= tried


@pytest.mark.parametrize("name", sorted(set(FILES) - {"second.py"}))
def test_a_key_changes_with_all_code_that_the_model_may_reach(name, here):
    uses = [("model", "bpda", '"stand_in.py:make"', True)]
    before = key_of(here, uses)
    assert key_of(here, uses) == before
    with (here / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert key_of(here, uses) != before


def test_a_key_changes_with_the_versions_of_the_programs(here, monkeypatch):
    found = {key_of(here)}
    monkeypatch.setattr(module, "auditor_version", lambda: "9.9")
    found.add(key_of(here))
    monkeypatch.setattr(torch, "__version__", "9.9")
    found.add(key_of(here))
    assert len(found) == 3


def test_code_that_no_import_reaches_does_not_count(here):
    before = code_hash(here / "model.py")
    (here / "second.py").write_text("", encoding="utf-8")
    assert code_hash(here / "model.py") == before
    (here / "helper.py").rename(here / "helped.py")
    assert code_hash(here / "model.py") != before


def test_attributes_arrays_and_buffers_that_are_no_weights_count(here):
    from auditor.subject.loading import fingerprint

    class Config:
        def __init__(self, size):
            self.size = size

    def of(change):
        net = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(net.weight)
        torch.nn.init.ones_(net.bias)
        change(net)
        return fingerprint(net, [])

    def buffer(net):
        net.register_buffer("b", torch.ones(1), persistent=False)

    changes = [
        lambda net: None,
        lambda net: setattr(net, "a", 1),
        lambda net: setattr(net, "a", {"b": [1, 2.0]}),
        lambda net: setattr(net, "a", np.ones(2)),
        lambda net: setattr(net, "a", torch.ones(2)),
        lambda net: setattr(net, "a", Config(1)),
        lambda net: setattr(net, "a", Config(2)),
        buffer,
    ]
    assert len({of(change) for change in changes}) == len(changes)
    assert of(changes[0]) == of(lambda net: net.eval())
