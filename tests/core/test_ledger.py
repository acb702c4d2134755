"""The run directory: cells whole or not at all, events in order, whatever was cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from auditor_plugins.pgd import PGD
from core_models import block_of, cnn_victim, run_attack, uniform

from auditor.cells import ledger as module
from auditor.cells.ledger import (
    CellMeta,
    CellRecord,
    Ledger,
    cell_key,
    record_of,
)
from auditor.storage import write_atomically

META = CellMeta(1.5, 10, 9, "naive", "margin", "why “so”", {"outside the ball": 3})


def a_record() -> CellRecord:
    columns = {
        "position": torch.tensor([4, 2, 7]),
        "broken": torch.tensor([True, False, True]),
        "margin": torch.tensor([0.5, -torch.inf, torch.nan], dtype=torch.float64),
        "loss": torch.arange(6.0, dtype=torch.float64).view(2, 3).T,  # not contiguous
    }
    return CellRecord(META, columns, uniform(2, 1, 3, 4, dtype=torch.float32))


def assert_same(one: CellRecord, other: CellRecord) -> None:
    assert one.meta == other.meta
    assert set(one.columns) == set(other.columns)
    for name, tensor in one.columns.items():
        assert tensor.dtype == other.columns[name].dtype
        torch.testing.assert_close(tensor, other.columns[name], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(one.adversarial, other.adversarial)


def test_round_trip(tmp_path):
    ledger = Ledger(tmp_path)
    assert ledger.read("key") is None
    ledger.write("key", a_record())
    assert_same(Ledger(tmp_path).read("key"), a_record())
    assert ledger.read("other") is None


def test_a_cell_without_examples_or_images_is_kept_too(tmp_path):
    ledger = Ledger(tmp_path)
    none = torch.from_numpy(np.arange(3)[np.zeros(3, bool)])  # its stride is 0
    loss = torch.full((0, 1), torch.nan, dtype=torch.float64)
    empty = CellRecord(META, {"position": none, "loss": loss}, torch.zeros(0, 1, 2, 2))
    ledger.write("key", empty)
    assert_same(ledger.read("key"), empty)


def test_an_outcome_becomes_a_record_of_all_its_columns(tmp_path):
    x = uniform(12, 1, 8, 8, seed=1)
    victim = cnn_victim(x)
    outcome = run_attack(victim, PGD(steps=3), block_of(victim, x), "linf", 0.03).outcome
    assert 0 < int(outcome.broken.sum()) < 12
    position = torch.arange(12) * 3
    record = record_of(outcome, position, META)
    assert set(record.columns) == set(vars(outcome)) - {"adversarial", "best_point"} | {"position"}
    assert torch.equal(record.adversarial, outcome.adversarial[outcome.broken])
    ledger = Ledger(tmp_path)
    ledger.write("key", record)
    assert_same(ledger.read("key"), record)


class CrashError(Exception):
    pass


@pytest.mark.parametrize("call", ["save_file", "fsync", "replace"])
def test_a_crash_at_any_moment_leaves_the_old_cell_or_none(tmp_path, monkeypatch, call):
    def crash(*args, **kwargs):
        raise CrashError

    ledger = Ledger(tmp_path)
    ledger.write("old", a_record())
    with monkeypatch.context() as patch:
        patch.setattr(module if call == "save_file" else module.os, call, crash)
        for key in ("old", "new"):
            with pytest.raises(CrashError):
                ledger.write(key, CellRecord(META, {}, torch.zeros(1)))
    again = Ledger(tmp_path)
    assert again.read("new") is None
    assert_same(again.read("old"), a_record())


def test_temporary_files_of_a_crash_are_no_cells(tmp_path):
    ledger = Ledger(tmp_path)
    (tmp_path / "cells" / "key.4711.tmp").write_bytes(b"half a ce")
    assert ledger.read("key") is None
    ledger.write("key", a_record())
    assert_same(ledger.read("key"), a_record())


def test_atomic_writing_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "audit.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_atomic_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "audit.json"
    write_atomically(path, b"one")

    def crash(*args):
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", crash)
        with pytest.raises(CrashError):
            write_atomically(path, b"two")
    assert path.read_bytes() == b"one"


def test_events_are_read_in_order(tmp_path):
    ledger = Ledger(tmp_path)
    assert list(ledger.events()) == []
    assert ledger.last("started") is None
    assert ledger.first_time() is None
    for number in range(3):
        ledger.log("started", number=number, text="Größe\n\u2028 next")
    ledger.log("done")
    events = list(Ledger(tmp_path).events())
    assert [event["event"] for event in events] == ["started"] * 3 + ["done"]
    assert events[1]["text"] == "Größe\n\u2028 next"
    assert ledger.last("started")["number"] == 2
    assert ledger.first_time() == events[0]["time"]


def cut_off(directory: Path) -> None:
    with (directory / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": 1.0, "event": "half"})[:-9])


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.log("started")
    cut_off(tmp_path)
    assert [event["event"] for event in ledger.events()] == ["started"]


def test_the_first_event_after_a_crash_is_not_lost(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.log("started")
    cut_off(tmp_path)
    ledger.log("resumed")
    ledger.log("done")
    assert [event["event"] for event in ledger.events()] == ["started", "resumed", "done"]


def test_a_cells_name_depends_on_everything_in_it_and_not_on_its_order():
    parts = {"model": "a", "epsilon": (0.1).hex(), "parameters": {"steps": 3, "loss": "margin"}}
    key = cell_key(parts)
    assert cell_key({name: parts[name] for name in reversed(parts)}) == key
    assert cell_key({**parts, "parameters": {"loss": "margin", "steps": 3}}) == key
    others = [
        {**parts, "model": "b"},
        {**parts, "epsilon": (0.1 + 2**-55).hex()},
        {**parts, "parameters": {"steps": 4, "loss": "margin"}},
        {**parts, "more": None},
    ]
    assert len({key, *map(cell_key, others)}) == 5


def test_only_one_at_a_time_goes_on_with_a_run(tmp_path):
    first, second = Ledger(tmp_path), Ledger(tmp_path)
    assert first.try_lock()
    assert not second.try_lock()
    first.unlock()
    assert second.try_lock()
    second.unlock()


def test_a_cell_is_taken_under_its_own_name_for_its_own_images_alone(tmp_path):
    ledger = Ledger(tmp_path)
    for key in ("one", "two"):
        ledger.write(key, a_record())
    assert ledger.read("one", torch.tensor([4, 2, 7])) is not None
    assert ledger.read("one", torch.tensor([4, 2])) is None
    assert ledger.set_aside == {"one": "it is about other images"}
    ledger.cell_path("two").rename(ledger.cell_path("one"))
    assert ledger.read("one") is None
    assert ledger.set_aside["one"] == "it is another cell's"
    ledger.cell_path("two").write_bytes(b"")
    assert ledger.read("two") is None
    assert "cannot be read" in ledger.set_aside["two"]
    assert [event["key"] for event in ledger.events()] == ["one", "one", "two"]
    assert ledger.read("one") is None  # it was set aside
    new = a_record()
    told = ledger.write("one", replace(new, meta=replace(new.meta, note="few targets")))
    assert told.meta.note.startswith("few targets; computed again")
    assert "it is another cell's" in told.meta.note
    assert_same(ledger.read("one"), told)
