"""Examples from disk are believed once the victim has confirmed them again."""

from __future__ import annotations

from dataclasses import replace

import torch
from auditor_plugins.pgd import PGD
from core_models import block_of, cnn_victim, run_attack, uniform

from auditor.attacking.verify import Verifier
from auditor.cells.ledger import CellMeta, record_of
from auditor.cells.reread import refuted
from auditor.maths.norms import NORMS

META = CellMeta(1.5, 10, 9, "naive", "margin", "")


def test_examples_that_are_not_in_the_ball_or_fool_nobody_are_refuted():
    x = uniform(12, 1, 8, 8, seed=1)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    outcome = run_attack(victim, PGD(steps=3), block, "linf", 0.03).outcome
    record = record_of(outcome, torch.arange(12), META)
    linf = next(norm for norm in NORMS if norm.name == "linf")
    verifier = Verifier(victim, linf, 0.03)
    assert refuted(record, block, verifier) == ""
    clean = replace(record, adversarial=block.x[outcome.broken])
    count = len(clean.adversarial)
    words = f"{count} of its {count} examples do not fool the model"
    assert refuted(clean, block, verifier) == words
    far = replace(record, adversarial=record.adversarial + 0.1)
    assert "not in the ball" in refuted(far, block, verifier)
    small = replace(record, adversarial=record.adversarial[..., :4])
    assert "another shape" in refuted(small, block, verifier)
    assert refuted(replace(record, columns={"broken": outcome.broken}), block, verifier)
