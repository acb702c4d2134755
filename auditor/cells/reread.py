"""Examples that were read from disk are verified again before they enter a result."""

from __future__ import annotations

import torch

from auditor.attacking.outcome import Block
from auditor.attacking.verify import Verifier
from auditor.cells.ledger import CellRecord
from auditor.maths.norms import Ball

#: How far a margin may be off, relative to its size, because an image was in another batch.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3}
_COARSE = 5e-2


def refuted(record: CellRecord, block: Block, verifier: Verifier) -> str:
    """Why the examples of a cell cannot be believed; empty where they are what it says.

    Of a model whose answers vary only distance and box are looked at: another draw may differ.

    Args:
        block: the images that the cell is about, in its order.
        verifier: of the cell's victim, norm and epsilon.
    """
    columns, victim = record.columns, verifier.victim
    if not columns.keys() >= {"broken", "margin"}:
        return "it lacks columns"
    broken = columns["broken"].to(block.x.device)
    x, clean, y = record.adversarial.to(block.x), block.x[broken], block.y[broken]
    if x.shape != clean.shape:
        return "its examples are of another shape than the images"
    if not len(x):
        return ""
    ball = Ball(verifier.norm, verifier.epsilon, clean)
    reach = verifier.reach(ball) + 1e-6 * verifier.epsilon
    inside = ball.in_box(x) & (ball.distance(x) <= reach)
    if not inside.all():
        return f"{int((~inside).sum())} of its {len(x)} examples are not in the ball"
    if victim.draws > 1:
        return ""
    judged = victim.judge(x, y)
    known = columns["margin"].to(judged.margin.device)[broken].to(judged.margin)
    off = _ROUNDING.get(victim.precision, _COARSE) * (1 + known.abs())
    held = judged.wrong | ((judged.margin - known).abs() <= off)
    if not held.all():
        return f"{int((~held).sum())} of its {len(x)} examples do not fool the model"
    return ""
