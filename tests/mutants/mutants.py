"""Faults of the kind that somebody might make in the core, each a line of it written wrong.

`run.py` puts them in one at a time and looks whether the tests that `make test` runs notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """One line written wrong.

    Attributes:
        fault: what was done wrong, in words.
        file: the file, from the root.
        right: what stands there once.
        wrong: what is written in its place.
        tests: where to look for a test that notices, quickest first.
    """

    fault: str
    file: str
    right: str
    wrong: str
    tests: str

    def written(self) -> str:
        """The file with the fault."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if text.count(self.right) != 1:
            raise ValueError(f"{self.fault}: {self.file} has {self.right!r} not exactly once")
        return text.replace(self.right, self.wrong)


_NORMS, _OBJECTIVES = "auditor/maths/norms.py", "auditor/maths/objectives.py"
_INTERVALS, _RANDOM = "auditor/maths/intervals.py", "auditor/maths/randomness.py"
_VERIFY, _CLAIMS = "auditor/attacking/verify.py", "auditor/attacking/claims.py"
_POOL, _OUTCOME = "auditor/attacking/pool.py", "auditor/attacking/outcome.py"
_SAMPLING, _REREAD = "auditor/cells/sampling.py", "auditor/cells/reread.py"
_VERDICT, _GATES = "auditor/masking/verdict/__init__.py", "auditor/gates.py"
_VICTIM, _SURROGATE = "auditor/subject/victim.py", "auditor/surrogate/surrogate.py"
_PGD, _APGD, _SQUARE = "plugins/pgd.py", "plugins/apgd/__init__.py", "plugins/square/__init__.py"

_T = "tests/core/test_"

MUTANTS = (
    Mutant("l-infinity: the box is forgotten in the projection", _NORMS,
           ".clamp_(-radius, radius).add_(x0).clamp_(0, 1)",
           ".clamp_(-radius, radius).add_(x0)", f"{_T}threat.py"),
    Mutant("l-infinity: the steepest step goes downhill", _NORMS,
           "gradient.sign(), alpha=length)", "gradient.sign(), alpha=-length)", f"{_T}threat.py"),
    Mutant("l2: squares are compared with the radius itself", _NORMS,
           "clipped.square().sum(1) > radius**2", "clipped.square().sum(1) > radius",
           f"{_T}threat.py"),
    Mutant("l2: pixels at the box's face stay free", _NORMS,
           "still_free = free & (s * ratio < room)", "still_free = free", f"{_T}threat.py"),
    Mutant("l2: the radius of a random point is uniform", _NORMS,
           "uniform(1)[:, 0] ** (1 / dimensions)", "uniform(1)[:, 0]", f"{_T}threat.py"),
    Mutant("l1: the threshold is looked for one knot too far", _NORMS,
           "k = ((values > radius).sum(1, keepdim=True) - 1).clamp(min=0)",
           "k = (values > radius).sum(1, keepdim=True).clamp(max=values.shape[1] - 2)",
           f"{_T}threat.py"),
    Mutant("l1: pixels of the smallest slope are filled first", _NORMS,
           "sort(dim=1, descending=True, stable=True)", "sort(dim=1, stable=True)",
           f"{_T}threat.py"),
    Mutant("a pixel a hundredth above 1 is in the box", _NORMS,
           "(flat.amax(1) <= 1)", "(flat.amax(1) <= 1.01)", f"{_T}threat.py"),
    Mutant("the margin has the wrong sign", _OBJECTIVES,
           "return _rival(z, y, target) - _picked(z, y)",
           "return _picked(z, y) - _rival(z, y, target)", f"{_T}objectives.py"),
    Mutant("the targeted cross-entropy moves away from the target", _OBJECTIVES,
           "-torch.nn.functional.cross_entropy(z, target",
           "torch.nn.functional.cross_entropy(z, target",
           f"{_T}objectives.py"),
    Mutant("DLR divides by the wrong logit", _OBJECTIVES,
           "top[:, 2] if target is None", "top[:, 1] if target is None", f"{_T}objectives.py"),
    Mutant("targeted DLR is used with three classes", _OBJECTIVES,
           "needed = 4 if targeted else 3", "needed = 3", f"{_T}objectives.py"),
    Mutant("all images draw the same random numbers", _RANDOM,
           "lower[:, None])", "torch.zeros_like(lower)[:, None])", f"{_T}randomness.py"),
    Mutant("every step draws the numbers of the first", _RANDOM,
           "(self.step ^ upper)[:, None]", "upper[:, None]", f"{_T}randomness.py"),
    Mutant("the limit in a population is taken at the wrong end", _INTERVALS,
           "> 1 - level:", "> level:", f"{_T}sampling.py"),
    Mutant("the error is spent twice in what would have been seen", _INTERVALS,
           "error = (1 - level) / 2", "error = 1 - level", f"{_T}stats.py"),
    Mutant("a claim outside the ball is confirmed", _VERIFY,
           "feasible = in_box & in_ball", "feasible = in_box", f"{_T}pool_claims.py"),
    Mutant("what the victim says of a claim is not looked at", _VERIFY,
           "wrong = judged.wrong\n", "wrong = torch.ones_like(judged.wrong)\n",
           f"{_T}pool_claims.py {_T}pool.py"),
    Mutant("8-bit images outside the ball count", _VERIFY,
           "confirmed & wrong_8bit & (ball.distance(rounded) <= self.reach(ball))",
           "confirmed & wrong_8bit", f"{_T}pool_claims.py {_T}pool.py {_T}threat.py"),
    Mutant("8-bit images are rounded away from the clean one", _VERIFY,
           "torch.where(nearest >= ball.x0, down, up)", "torch.where(nearest >= ball.x0, up, down)",
           f"{_T}pool_claims.py {_T}pool.py {_T}threat.py"),
    Mutant("of several points one outside the ball is claimed", _CLAIMS,
           "(in_box & in_ball).view", "in_box.view", f"{_T}pool_claims.py {_T}pool_protocol.py"),
    Mutant("of minimising lanes the farthest point is kept", _CLAIMS,
           "nearer = distance < lanes.nearest[hits]", "nearer = distance >= 0",
           f"{_T}nearest.py {_T}fab.py"),
    Mutant("a fallen image's further lanes are started", "auditor/attacking/queue.py",
           "if self._groups[row] and not fell:", "if self._groups[row]:", f"{_T}queue.py"),
    Mutant("of lanes that share an image the last counts", "auditor/attacking/lanes.py",
           'scatter_reduce_(0, rows, number, "amin")',
           'scatter_reduce_(0, rows, number, "amax", include_self=False)',
           f"{_T}lanes.py {_T}lanes_targets.py"),
    Mutant("new states are put before the old ones on refill", _POOL,
           "concatenate(batch.state, joining.state)", "concatenate(joining.state, batch.state)",
           f"{_T}pool.py"),
    Mutant("restarts are numbered like targets", _POOL,
           "restart=(turn // aims).repeat", "restart=(turn % aims).repeat",
           f"{_T}pool.py {_T}lanes_targets.py"),
    Mutant("an attack is given a step too many", _POOL,
           "going_on = lanes.step < self.setup.attack.steps",
           "going_on = lanes.step <= self.setup.attack.steps",
           f"{_T}pool.py"),
    Mutant("fooled images stay in the batch", _POOL,
           "ended |= claims.outcome.broken[lanes.row]", "pass", f"{_T}pool.py"),
    Mutant("every ascent counts as one of the repaired gradient", "auditor/attacking/setup.py",
           'return "repaired" if self.surrogate.repairs else None', 'return "repaired"',
           f"{_T}challenge.py {_T}campaign.py"),
    Mutant("a success is trusted to the attack that found it last", _OUTCOME,
           "self.trust[rows[~self.broken[rows]]] =", "self.trust[rows] =",
           f"{_T}campaign.py {_T}pool.py {_T}nearest.py {_T}campaign_runs.py"),
    Mutant("each further sample may err as much as the first", _SAMPLING,
           "* _FIRST * (1 - _FIRST) ** (number - 1)", "", f"{_T}sampling.py"),
    Mutant("a sample is one image short", _SAMPLING,
           'kind="stable")[:sample]', 'kind="stable")[: sample - 1]', f"{_T}sampling.py"),
    Mutant("what broke the sample is not sent on", _SAMPLING,
           "if everything or not broke:", "if everything or not broke or broke:",
           f"{_T}sampling.py"),
    Mutant("a kept cell's examples are believed outside the ball", _REREAD,
           "inside = ball.in_box(x) & (ball.distance(x) <= reach)", "inside = ball.in_box(x)",
           f"{_T}reread.py tests/system/test_damaged_cells.py"),
    Mutant("confirmed by what is likely, not by what is certain", _VERDICT,
           "strong.lower > _PROVEN", "strong.likely > _PROVEN", f"{_T}verdict.py"),
    Mutant("a planted mask that was not found is no reason to doubt", _VERDICT,
           "elif not facts.control.detected:", "elif facts.control is None:", f"{_T}verdict.py"),
    Mutant("a gate breaks at its very limit", _GATES,
           "return value >= gate.at_least", "return value > gate.at_least", f"{_T}judge.py"),
    Mutant("missing work leaves the gate passed", _GATES,
           "if open_ or incomplete:", "if open_:", f"{_T}judge.py"),
    Mutant("PGD steps without projection", _PGD,
           "State(x=task.ball.project(task.ball.steepest(state.x, seen.gradient, length)))",
           "State(x=task.ball.steepest(state.x, seen.gradient, length))",
           f"{_T}linear.py {_T}pool.py"),
    Mutant("APGD: the second condition is left out", _APGD,
           "halve = now & (oscillates | stays)", "halve = now & oscillates", f"{_T}apgd.py"),
    Mutant("APGD: checkpoints come too often", _APGD,
           "percent[-1] - percent[-2] - 3, 6)", "percent[-1] - percent[-2] - 3, 3)",
           f"{_T}apgd.py"),
    Mutant("Square keeps changes that make it worse", _SQUARE,
           "which = better.int().argmax(1)  # the first", "which = (~better).int().argmax(1)",
           f"{_T}square.py"),
    Mutant("a tie of a random model's votes counts as wrong", _VICTIM,
           "            2 * self.wrong > self.draws,\n",
           "            2 * self.wrong >= self.draws,\n",
           f"{_T}victim.py"),
    Mutant("scores that are no numbers are an answer", _VICTIM,
           "wrong = (prediction != y) | confidence.isnan()", "wrong = prediction != y",
           f"{_T}victim.py {_T}pool_claims.py"),
    Mutant("gradients that are not finite reach the attack", _SURROGATE,
           "nonfinite = ~largest.isfinite()", "nonfinite = largest < 0", f"{_T}surrogate.py"),
    Mutant("a seed has no part in the name of a cell", "auditor/cells/keys.py",
           '"seed": run.seed,', '"seed": 0,', f"{_T}keys.py"),
)  # fmt: skip
