"""The zoo of masking defenses: it builds, its halves, markers and stand-ins are in order."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

ZOO = Path(__file__).resolve().parents[2] / "benchmarks" / "masking_zoo"
sys.path[:0] = [str(ZOO), str(ZOO.parent)]
try:
    import adaptive
    import scores
    from third_part import EVERY, THIRD
    from truth import data_file
    from verdicts import alone, audit_toml
    from zoo import ENTRIES, Entry, marked_lines
finally:
    del sys.path[:2]

from auditor.config import load_config  # noqa: E402
from auditor.subject.victim import Victim  # noqa: E402

MASKS = [entry for entry in ENTRIES if entry.masks]
HONEST = [entry for entry in ENTRIES if not entry.masks]
EVERY_MASK = [entry for entry in EVERY if entry.masks]
KINDS = {"shattered", "stochastic", "vanishing", "loss-level", "output-level", "other"}


def images(dataset: str) -> Tensor:
    """Four images, (4, C, H, W)."""
    if dataset != "fashion-mnist":  # smooth noise, since its images are not shipped
        channels, side = (3, 32) if dataset == "cifar10" else (1, 28)
        coarse = torch.rand(4, channels, 8, 8, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    with np.load(data_file(dataset, None)) as arrays:
        return torch.from_numpy(arrays["x"][:4])[:, None].float() / 255


def by_name(entries):
    return pytest.mark.parametrize("entry", entries, ids=[entry.name for entry in entries])


def victim(entry: Entry) -> Victim:
    return Victim(
        entry.name,
        adaptive.build(entry),
        precision=getattr(torch, entry.precision),
        outputs=entry.outputs,
    )


@by_name(EVERY)
def test_it_builds_and_answers_with_logits(entry):
    x = images(entry.dataset)
    z = victim(entry).logits(x)
    assert z.shape == (4, 10)
    assert z.isfinite().all()


@by_name([entry for entry in EVERY if not entry.random])
def test_what_is_not_random_answers_the_same_twice(entry):
    model, x = victim(entry), images(entry.dataset)
    with torch.no_grad():
        assert torch.equal(model.logits(x), model.logits(x))


def test_there_are_enough_of_all():
    assert len(MASKS) >= 30
    assert len(HONEST) >= 20
    assert {entry.kind for entry in MASKS} == KINDS
    for entries in (MASKS, HONEST):
        grounds = {(entry.dataset, entry.backbone) for entry in entries}
        datasets = ("fashion-mnist", "cifar10")
        assert grounds >= {(d, b) for d in datasets for b in ("undefended", "pgd-trained")}
    assert len({entry.name for entry in EVERY}) == len(EVERY)


def test_the_third_part_is_in_neither_half():
    assert {entry.split for entry in THIRD} == {"third"}
    assert {entry.split for entry in ENTRIES} == {"choose", "measure"}
    assert len(THIRD) >= 15
    masks = sum(entry.masks for entry in THIRD)
    assert 0.5 <= masks / len(THIRD) <= 0.75


def test_the_halves_are_balanced_and_keep_variants_together():
    for entries, least in ((MASKS, 30), (HONEST, 10)):
        count = Counter(entry.split for entry in entries)
        assert min(count.values()) >= least
        assert max(count.values()) <= 1.5 * min(count.values())
    for entry in ENTRIES:
        assert {one.split for one in ENTRIES if one.factory == entry.factory} == {entry.split}
    assert {entry.kind for entry in MASKS if entry.split == "measure"} == KINDS


@by_name(EVERY)
def test_one_line_is_marked_where_one_operation_is_at_fault(entry):
    marked = marked_lines(entry.source, entry.factory.partition(":")[2])
    assert len(marked) == int(entry.operation)
    assert entry.culprit == (marked[0] if marked else None)


def exactly_stood_in_for() -> list[Entry]:
    exact = adaptive.EXACT
    return [e for e in EVERY_MASK if not e.random and set(adaptive.stand_ins(e)) <= exact]


@by_name(exactly_stood_in_for())
def test_stand_ins_that_claim_it_answer_what_the_defense_answers(entry):
    model, x = victim(entry), images(entry.dataset)
    for name in adaptive.stand_ins(entry):
        stand_in = model.with_module(adaptive.STAND_INS[name](model.module))
        with torch.no_grad():
            assert torch.allclose(stand_in.logits(x), model.logits(x), atol=1e-4)


@by_name(EVERY_MASK)
def test_stand_ins_have_a_gradient(entry):
    model, x = victim(entry), images(entry.dataset).requires_grad_(True)
    for name in adaptive.stand_ins(entry):
        z = model.with_module(adaptive.STAND_INS[name](model.module)).logits(x)
        (slope,) = torch.autograd.grad((z[:, 0] - z[:, 1]).sum(), x)
        assert slope.isfinite().all()
        assert (slope != 0).flatten(1).any(1).all()


def test_the_audit_of_an_entry_is_configured_as_the_contract_has_it(tmp_path):
    in_l2 = next(entry for entry in EVERY if entry.norm == "l2")
    for entry in (MASKS[0], HONEST[0], in_l2):
        text = audit_toml(entry, data_file("fashion-mnist", None), 50, 1, "quick", tmp_path)
        (tmp_path / "audit.toml").write_text(text, encoding="utf-8")
        config, _ = load_config(tmp_path / "audit.toml")
        assert config.models[0].paths["factory"] == entry.source
        assert dict(config.models[0].kwargs) == entry.arguments
        assert config.threats[0].norm == entry.norm


def row(name: str, verdict: str, corrected: float, culprit: str | None = None) -> dict:
    return {
        "name": name, "seed": 0, "images": 100, "profile": "quick", "verdict": verdict,
        "kind": None, "culprit": culprit, "gradient_attack_accuracy": 0.9,
        "corrected_accuracy": corrected, "seconds": 2.0, "check_seconds": 1.0,
    }  # fmt: skip


def true(name: str, gap: float, adaptive: float) -> dict:
    return {"name": name, "seed": 0, "images": 100, "gap": gap, "adaptive": adaptive}


def test_scores_tell_hits_misses_alarms_and_lines_apart():
    entry = next(e for e in MASKS if e.operation)
    large, small = true(entry.name, 0.5, 0.1), true(entry.name, 0.05, 0.1)
    right = f"net, {entry.source.name}:{entry.culprit} (round)"
    hit = row(entry.name, "confirmed", 0.12, right)
    assert scores.outcome(entry, hit, large) == "hit"
    assert scores.outcome(entry, row(entry.name, "possible", 0.9), large) == "MISS"
    assert scores.outcome(entry, hit, small) == "alarm, small gap"
    assert scores.outcome(HONEST[0], row(HONEST[0].name, "suspected", 0.1), None) == "FALSE ALARM"
    assert scores.off(hit, large) == pytest.approx(2.0)
    assert scores.off(hit | {"seed": 1}, large) is None
    assert scores.culprit_right(entry, hit)
    assert not scores.culprit_right(entry, row(entry.name, "confirmed", 0.1, "x.py:1"))


def test_the_table_says_what_holds():
    entry = next(e for e in MASKS if e.operation)
    truth = {(entry.name, 0): true(entry.name, 0.5, 0.1)}
    hit = row(entry.name, "confirmed", 0.12, f"{entry.source.name}:{entry.culprit}")
    text = scores.score_text(entry.split, [hit], truth)
    assert text.count("1 of 1") == 5
    missed = scores.score_text(entry.split, [row(entry.name, "none", 0.9)], truth)
    assert missed.count("DOES NOT HOLD") == 4  # no honest control was measured either


def test_an_audit_that_does_not_end_has_found_nothing():
    key = {"seed": 0, "images": 100, "profile": "quick"}
    ended = {"error": "no verdict within 900 s", "seconds": 900.0}
    rows = [{"name": one.name, **key, **ended} for one in (MASKS[0], HONEST[0])]
    text = scores.requirement_table(rows, {(MASKS[0].name, 0): true(MASKS[0].name, 0.5, 0.1)})
    measured = [line.split("|")[2].strip() for line in text.splitlines()[2:]]
    assert measured == ["0 of 2", "0 of 1", "0 of 1", "0 of 0", "0 of 0", "0 of 2"]


def test_an_audit_is_killed_at_its_limit():
    row = alone(0.0, MASKS[0], data_file("fashion-mnist", None), 10, 3, "quick")
    assert row["error"] == "no verdict within 0 s"
    assert (row["name"], row["seed"]) == (MASKS[0].name, 3)
    assert row["seconds"] < 60
