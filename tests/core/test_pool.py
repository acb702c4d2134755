"""The pool: its verdicts are a function of the image alone, and it believes no attack."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from auditor_plugins.fgsm import FGSM, RandomFGSM
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_models import (
    NORM,
    Counted,
    Linear,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from torch import nn

from auditor.attack import GRADIENT, SCORES, Observation, State, Task, attack
from auditor.engine.pool import AttackDefectError, Block, Outcome
from auditor.engine.verify import to_8bit
from auditor.surrogate import naive
from auditor.threat import NORMS, Ball
from auditor.victim import Victim

N = 24
X = uniform(N, 1, 8, 9, seed=1)
IDS = 10_000 - 37 * torch.arange(N)
EPSILON = {"linf": 0.02, "l2": 0.15, "l1": 0.4}
ALL_NORMS = {norm.name for norm in NORMS}
ATTACKS = [FGSM(), RandomFGSM(), PGD(steps=6, restarts=3, loss="margin"), Noise(samples=10)]
#: What may be compared image by image. Gradients are evaluated for whole batches, so that backward
#: passes at an image's last point depend on whether its neighbours still go on.
COLUMNS = ("broken", "broken_8bit", "prediction", "forwards")
MEASURED = ("margin", "loss", "distance", "confidence", "adversarial")


def toy(**options):
    """A decorated attack of the tests."""
    options = {"name": "toy", "norms": ALL_NORMS, "needs": SCORES, "reference": "none", **options}
    return attack(**options)


def assert_same(one: Outcome, other: Outcome, order: torch.Tensor | None = None) -> None:
    for name in COLUMNS + MEASURED:
        expected = getattr(one, name) if order is None else getattr(one, name)[order]
        if name in COLUMNS:
            assert torch.equal(getattr(other, name), expected), name
        else:
            torch.testing.assert_close(
                getattr(other, name), expected, rtol=1e-9, atol=1e-9, equal_nan=True
            )


# What happens to an image is a function of that image


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_neither_batch_size_nor_order_changes_what_happens_to_an_image(norm_name, attack):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    epsilon = EPSILON[norm_name] * (2 if isinstance(attack, Noise) else 1)
    first = run_attack(victim, attack, block, norm_name, epsilon, batch_size=1)
    fallen = int(first.outcome.broken.sum())
    assert 0 < fallen < N, "the comparison needs images of both kinds"
    for batch_size in (7, 64, 512):
        again = run_attack(victim, attack, block, norm_name, epsilon, batch_size=batch_size)
        assert_same(first.outcome, again.outcome)
        assert again.verifier.rejected == first.verifier.rejected
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, attack, shuffled, norm_name, epsilon, batch_size=7)
    assert_same(first.outcome, again.outcome, order)


@pytest.mark.parametrize("attack", [RandomFGSM(), PGD(steps=6), Noise(samples=10)])
def test_seed_and_image_id_do_change_the_random_start(attack):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    base = run_attack(victim, attack, block, "linf", 0.02).outcome.margin
    other_seed = run_attack(victim, attack, block, "linf", 0.02, seed=1).outcome.margin
    other_ids = run_attack(victim, attack, replace(block, image=IDS + 1), "linf", 0.02).outcome
    assert not torch.equal(base, other_seed)
    assert not torch.equal(base, other_ids.margin)


class FlatAboveHalf(nn.Module):
    """Its gradient is zero where the mean pixel is above 1/2, and only there."""

    def forward(self, x):
        score = (0.5 - x.flatten(1).mean(1)).clamp(min=0)
        return torch.stack([1 + score, -score], 1)


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class OneStepUp:
    """Every pixel brighter by epsilon."""

    loss = "margin"
    steps = 1

    def start(self, task: Task) -> State:
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return State(task.x + task.ball.epsilon)


def test_what_is_said_of_an_images_gradients_does_not_depend_on_its_batch():
    """The first image has fallen before it starts, so that the third starts as the second ends.

    The second image's gradient is zero at its last point, where the attack asks for none.
    """
    x = torch.tensor([0.2, 0.45, 0.3], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    victim = Victim("flat", FlatAboveHalf(), precision=torch.float64)
    block = Block(x.contiguous(), torch.tensor([1, 0, 0]), torch.arange(3))
    alone, together = (
        run_attack(victim, OneStepUp(), block, "linf", 0.08, batch_size=size).outcome
        for size in (1, 2)
    )
    assert alone.broken.tolist() == together.broken.tolist() == [True, False, False]
    assert alone.zero.tolist() == [False, False, False]
    assert together.zero.tolist() == alone.zero.tolist()


def test_an_empty_block_has_an_empty_outcome():
    victim = cnn_victim(X)
    block = Block(X[:0], torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    victim.passes.forwards = 0
    for one in ATTACKS:
        outcome = run_attack(victim, one, block, "linf", 0.1).outcome
        assert len(outcome.broken) == 0
        assert outcome.adversarial.shape == (0, 1, 8, 9)
    assert victim.passes.forwards == 0


def test_progress_ends_with_every_image_and_never_goes_back():
    from auditor.attack import objective_of, spec_of
    from auditor.engine.pool import Pool
    from auditor.engine.verify import Verifier
    from auditor.objectives import choose_objective

    victim = cnn_victim(X)
    block, attack = block_of(victim, X, IDS), PGD(steps=5, restarts=3)
    pool = Pool(
        spec_of(PGD), attack, naive(victim), choose_objective(objective_of(attack), 4),
        Verifier(victim, NORM["linf"], 0.05), 0, "key", 7,
    )  # fmt: skip
    seen: list[tuple[int, int]] = []
    outcome = pool.run(block, lambda finished, broken: seen.append((finished, broken)))
    assert seen == sorted(seen)
    assert seen[-1] == (N, int(outcome.broken.sum()))


# Verified facts


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_every_adversarial_example_is_one(norm_name, attack):
    """Recomputed here from the tensors alone."""
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    outcome = run_attack(victim, attack, block, norm_name, 2 * EPSILON[norm_name]).outcome
    fell = outcome.broken
    assert fell.any()
    x, delta = outcome.adversarial[fell], (outcome.adversarial - X)[fell].flatten(1)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm_name]
    distance = torch.linalg.vector_norm(delta, order, dim=1)
    with torch.no_grad():
        z = victim.module(x)
    y = block.y[fell]
    torch.testing.assert_close(outcome.distance[fell], distance)
    assert (distance <= 2 * EPSILON[norm_name] * (1 + 1e-9)).all()
    assert x.min() >= 0
    assert x.max() <= 1
    assert (z.argmax(1) != y).all()
    assert torch.equal(outcome.prediction[fell], z.argmax(1))
    torch.testing.assert_close(outcome.confidence[fell], z.softmax(1).amax(1))
    torch.testing.assert_close(outcome.margin[fell], z.amax(1) - z.gather(1, y[:, None])[:, 0])
    assert torch.equal(outcome.adversarial[~fell], X[~fell])
    assert (outcome.prediction[~fell] == -1).all()
    assert outcome.distance[~fell].isnan().all()
    assert (outcome.margin[~fell] < 0).all()


@pytest.mark.parametrize("on_grid", [True, False])
def test_8bit_images_are_on_the_grid_and_in_the_ball(norm_name, on_grid):
    x0 = torch.round(X * 255) / 255 if on_grid else X
    for dtype in (torch.float64, torch.float32):
        ball = Ball(NORM[norm_name], 1.3 * EPSILON[norm_name], x0.to(dtype))
        x = ball.project(ball.x0 + 0.2 * normal(N, 1, 8, 9, seed=6, dtype=dtype))
        rounded = to_8bit(x, ball)
        levels = rounded.double() * 255
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
        assert rounded.min() >= 0
        assert rounded.max() <= 1
        if on_grid:
            assert ball.contains(rounded)[1].all()
            assert not torch.equal(rounded, ball.x0)


def test_8bit_is_the_nearest_grid_point_where_that_is_in_the_ball(norm_name):
    x0 = torch.round(X * 255) / 255
    ball = Ball(NORM[norm_name], 50.0, x0)
    x = ball.project(x0 + 0.3 * normal(N, 1, 8, 9, seed=7))
    torch.testing.assert_close(to_8bit(x, ball), torch.round(x * 255) / 255, rtol=0, atol=1e-12)


def test_8bit_of_a_whole_number_of_grey_levels_loses_none_of_them():
    """Epsilon of 8/255 on 8-bit images: a corner of the ball is an 8-bit image already."""
    for dtype in (torch.float32, torch.float64):
        x0 = (torch.arange(256, dtype=torch.float64) / 255).to(dtype).view(1, 1, 16, 16)
        ball = Ball(NORM["linf"], 8 / 255, x0)
        for sign in (1, -1):
            corner = ball.project(x0 + sign)
            expected = (torch.arange(256) + sign * 8).clamp(0, 255)
            got = (to_8bit(corner, ball).double() * 255).round().flatten().long()
            assert torch.equal(got, expected)


def test_success_as_an_8bit_image_is_what_it_says(norm_name):
    x = torch.round(X * 255) / 255
    victim = cnn_victim(x)
    block = block_of(victim, x, IDS)
    epsilon = EPSILON[norm_name]
    outcome = run_attack(victim, PGD(steps=10), block, norm_name, epsilon).outcome
    fell = outcome.broken
    assert not (outcome.broken_8bit & ~fell).any()
    ball = Ball(NORM[norm_name], epsilon, x)
    rounded = to_8bit(outcome.adversarial, ball)
    with torch.no_grad():
        wrong = victim.module(rounded).argmax(1) != block.y
    assert torch.equal(outcome.broken_8bit, fell & wrong & ball.contains(rounded)[1])


# Believes nobody


@toy()
@dataclass(frozen=True)
class Claims:
    """Proposes one thing, whatever it may be."""

    what: str
    steps = 0

    def start(self, task: Task) -> State:
        far = task.x + 2 * task.ball.epsilon
        proposals = {
            "outside the ball": far.clamp(max=1),
            "outside the box": task.x - 0.5 * task.ball.epsilon,
            "nan": torch.full_like(task.x, torch.nan),
            "one nan": task.x.index_fill(3, torch.tensor([0]), torch.nan),
            "infinite": torch.full_like(task.x, torch.inf),
            "clean": task.x,
        }
        return State(proposals[self.what])

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError("an attack of no steps is never stepped")


def always_wrong() -> tuple[Victim, Block]:
    """A victim that answers 0 on images whose label is 1: every point in ball and box counts."""
    W = torch.zeros(2, 16, dtype=torch.float64)
    victim = linear_victim(W, torch.tensor([1.0, 0.0], dtype=torch.float64))
    x = uniform(5, 1, 4, 4, seed=8)
    x[:, :, 0, 0] = 0
    return victim, Block(x, torch.ones(5, dtype=torch.int64), torch.arange(5))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("outside the ball", "outside the ball"),
        ("outside the box", "outside the box"),
        ("nan", "outside the box"),
        ("one nan", "outside the box"),
        ("infinite", "outside the box"),
    ],
)
def test_points_outside_ball_or_box_are_rejected_and_counted(norm_name, what, reason):
    victim, block = always_wrong()
    run = run_attack(victim, Claims(what), block, norm_name, 0.1)
    assert not run.outcome.broken.any()
    assert not run.outcome.broken_8bit.any()
    assert run.verifier.rejected == {reason: len(block)}
    assert torch.equal(run.outcome.adversarial, block.x)
    # The same victim does fall to a point inside.
    assert run_attack(victim, Claims("clean"), block, norm_name, 0.1).outcome.broken.all()


@toy()
@dataclass(frozen=True)
class Mutates:
    """Writes into what it was given, so that its ball moves and its labels lie."""

    what: str
    steps = 3

    def start(self, task: Task) -> State:
        return self.step(task, State(task.x), None)

    def step(self, task: Task, state: State, seen: Observation | None) -> State:
        if self.what == "x":
            task.x.add_(0.3).clamp_(max=1)
        if self.what == "ball":
            task.ball.x0.add_(0.3).clamp_(max=1)
        if self.what == "labels":
            task.y.add_(1).remainder_(2)
        if self.what == "logits" and seen is not None:
            seen.logits.zero_()
        return State(task.ball.project(task.x.clone()))


@pytest.mark.parametrize("what", ["x", "ball", "labels", "logits"])
def test_an_attack_that_writes_into_its_inputs_gains_nothing(norm_name, what):
    """The victim is right as long as the mean pixel is below 1/2; in the true ball it always is."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.5, -0.5], dtype=torch.float64))
    x = 0.1 + 0.2 * uniform(6, 1, 4, 4, seed=9)
    block = block_of(victim, x)
    assert (block.y == 0).all()
    kept = [tensor.clone() for tensor in (block.x, block.y, block.image)]
    run = run_attack(victim, Mutates(what), block, norm_name, 0.05)
    assert not run.outcome.broken.any()
    if what in ("x", "ball"):
        assert run.verifier.rejected["outside the ball"] > 0
    if what == "labels":  # these are a copy: nothing is even claimed
        assert run.verifier.rejected == {}
    for now, before in zip((block.x, block.y, block.image), kept, strict=True):
        assert torch.equal(now, before)


@toy()
@dataclass(frozen=True)
class TurnsBackTheClock:
    """Sets its step count to zero whenever it can, and gives up after a hundred calls."""

    calls: list[int] = field(default_factory=list)
    steps = 3

    def start(self, task: Task) -> State:
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.calls.append(len(task.y))
        if len(self.calls) > 100:
            raise RuntimeError("it would have gone on for ever")
        task.step.fill_(-1)
        return State(state.x)


def test_an_attack_cannot_make_the_pool_run_for_ever():
    victim = cnn_victim(X)
    attack = TurnsBackTheClock()
    run_attack(victim, attack, block_of(victim, X), "linf", 0.01)
    assert len(attack.calls) == 3


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_surrogate_that_lies_leaves_no_unconfirmed_success(norm_name, attack):
    """On the surrogate everything is adversarial at once; the victim can be fooled nowhere."""
    W = normal(3, 72, seed=10)
    honest = linear_victim(W, torch.tensor([1e3, 0, 0], dtype=torch.float64))
    liar = linear_victim(-W, torch.tensor([-1e3, 0, 0], dtype=torch.float64))
    block = block_of(honest, X)
    run = run_attack(honest, attack, block, norm_name, EPSILON[norm_name], surrogate=naive(liar))
    assert not run.outcome.broken.any()
    assert set(run.verifier.rejected) == {"not confirmed by the victim"}
    points = getattr(attack, "restarts", 1) * (attack.steps + 1)
    assert run.verifier.rejected["not confirmed by the victim"] == N * points


def test_a_surrogate_that_resembles_the_victim_transfers():
    """Successes on a slightly different model count exactly where the victim confirms them."""
    victim = cnn_victim(X)
    other = cnn_victim(X)
    with torch.no_grad():
        other.module.last.weight.add_(0.1 * normal(*other.module.last.weight.shape, seed=11))
    block = block_of(victim, X)
    outcome = run_attack(victim, PGD(steps=10), block, "linf", 0.1, surrogate=naive(other)).outcome
    assert outcome.broken.any()
    with torch.no_grad():
        wrong = victim.module(outcome.adversarial).argmax(1) != block.y
    assert torch.equal(outcome.broken, wrong)


class NanFarAway(nn.Module):
    """Scores for a rule, and NaN as soon as one pixel has moved by more than a tenth."""

    def __init__(self, x0: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("x0", x0)

    def forward(self, x):
        nearest = (x[:, None] - self.x0[None]).flatten(2).abs().amax(2).amin(1)
        z = torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], 1)
        return torch.where(nearest[:, None] > 0.1, torch.nan, z)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_model_that_answers_nan_is_not_called_robust(attack):
    victim = Victim("nan", NanFarAway(X[:4]), precision=torch.float64)
    block = block_of(victim, X[:4])
    outcome = run_attack(victim, Noise(samples=10), block, "linf", 0.3).outcome
    assert outcome.broken.all()
    small = run_attack(victim, attack, block, "linf", 0.05).outcome
    assert not small.broken.any()


# The protocol


@toy()
@dataclass(frozen=True)
class Breaks:
    """Breaks the protocol in one way, at the start or at a step."""

    what: str
    at: str
    steps = 2

    def start(self, task: Task) -> State:
        return self.proposal(task) if self.at == "start" else State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return self.proposal(task)

    def proposal(self, task: Task):
        return {
            "shape": lambda: State(task.x[:, :, 1:]),
            "points it did not announce": lambda: State(task.x[:, None]),
            "too few rows": lambda: State(task.x[1:]),
            "dtype": lambda: State(task.x.float()),
            "nothing": lambda: None,
            "a tensor": lambda: task.x,
            "an array": lambda: State(task.x.numpy()),
            "no dataclass": lambda: SimpleNamespace(x=task.x),
            "memory of another length": lambda: Remembers(task.x, torch.zeros(len(task.x) + 1)),
        }[self.what]()


@dataclass
class Remembers(State):
    memory: torch.Tensor


@pytest.mark.parametrize("at", ["start", "step"])
@pytest.mark.parametrize(
    "what",
    [
        "shape",
        "points it did not announce",
        "too few rows",
        "dtype",
        "nothing",
        "a tensor",
        "an array",
        "no dataclass",
        "memory of another length",
    ],
)
def test_a_proposal_that_is_no_state_of_images_is_a_defect_of_the_attack(what, at):
    victim = cnn_victim(X)
    with pytest.raises(AttackDefectError, match="toy"):
        run_attack(victim, Breaks(what, at), block_of(victim, X), "linf", 0.01)


@toy()
@dataclass(frozen=True)
class FourPoints:
    """Looks at four random points per step, and keeps a copy of all it proposed."""

    proposed: list[torch.Tensor] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    points = 4
    steps = 3

    def start(self, task: Task) -> State:
        return self.propose(task, "start")

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append(seen)
        return self.propose(task, "step")

    def propose(self, task: Task, when: str) -> State:
        x = torch.stack([task.ball.sample(task.noise(f"{when} {q}")) for q in range(4)], 1)
        self.proposed.append(x.clone())
        return State(x)


def test_attacks_may_look_at_several_points_per_step(norm_name):
    victim = cnn_victim(X)
    block, epsilon = block_of(victim, X, IDS), 0.2 * EPSILON[norm_name]
    attack = FourPoints()
    outcome = run_attack(victim, attack, block, norm_name, epsilon, batch_size=4 * N).outcome
    assert not outcome.broken.any()
    points = torch.stack(attack.proposed, 1)  # (n, steps + 1, Q, C, H, W)
    assert points.shape == (N, 4, 4, 1, 8, 9)
    with torch.no_grad():
        z = victim.module(points.flatten(0, 2)).view(N, 16, 4)
    label = block.y[:, None, None].expand(N, 16, 1)
    margins = z.scatter(2, label, -torch.inf).amax(2) - z.gather(2, label)[..., 0]
    torch.testing.assert_close(outcome.margin, margins.amax(1))
    torch.testing.assert_close(outcome.loss[:, 0], margins[:, -4:].amax(1))
    assert outcome.forwards.tolist() == [16] * N
    assert attack.seen[0].logits.shape == (N, 4, 4)
    torch.testing.assert_close(attack.seen[0].logits, z[:, :4])
    torch.testing.assert_close(attack.seen[0].loss, margins[:, :4])
    assert attack.seen[0].gradient is None


def test_attacks_with_several_points_do_not_depend_on_batches(norm_name):
    victim = cnn_victim(X)
    block, epsilon = block_of(victim, X, IDS), 2 * EPSILON[norm_name]
    first = run_attack(victim, FourPoints(), block, norm_name, epsilon, batch_size=1).outcome
    assert 0 < int(first.broken.sum()) < N
    for batch_size in (7, 64, 512):
        again = run_attack(victim, FourPoints(), block, norm_name, epsilon, batch_size=batch_size)
        assert_same(first, again.outcome)


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class TwoGradients:
    """Asks for the gradient at the clean image and at a point beside it."""

    seen: list[Observation] = field(default_factory=list)
    points = 2
    steps = 1
    loss = "margin"

    def start(self, task: Task) -> State:
        return State(torch.stack([task.x, task.ball.project(task.x + 0.01)], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append(seen)
        return state


def test_every_point_has_its_own_gradient():
    victim = cnn_victim(X)
    block, attack = block_of(victim, X), TwoGradients()
    run_attack(victim, attack, block, "linf", 0.01, batch_size=4 * N)
    from auditor.objectives import choose_objective

    for q, x in enumerate((X, (X + 0.01).clamp(max=1))):
        alone = naive(victim).evaluate(x, block.y, choose_objective("margin", 4), gradient=True)
        torch.testing.assert_close(attack.seen[0].gradient[:, q], alone.gradient)


@toy()
@dataclass(frozen=True)
class OneGoodPoint:
    """Of its two points one fools the victim inside the ball, and one even more so outside."""

    points = 2
    steps = 0

    def start(self, task: Task) -> State:
        up = torch.ones_like(task.x)
        far = (task.x + 2 * task.ball.epsilon * up).clamp(max=1)
        return State(torch.stack([far, task.ball.steepest(task.x, up, task.ball.epsilon)], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError


def test_a_rejected_point_does_not_hide_a_good_one_beside_it():
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.5, -0.5], dtype=torch.float64))
    x = torch.full((3, 1, 4, 4), 0.45, dtype=torch.float64)
    run = run_attack(victim, OneGoodPoint(), block_of(victim, x), "linf", 0.1)
    assert run.outcome.broken.all()


# Restarts and passes


def test_only_images_that_withstood_are_started_again(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    attack = PGD(steps=2, restarts=4)
    outcome = run_attack(victim, attack, block, norm_name, 0.8 * EPSILON[norm_name]).outcome
    started = ~outcome.loss.isnan()
    assert started[:, 0].all()
    # Restarts come one after another: once an image has none, it has no later one.
    assert not (started[:, 1:] & ~started[:, :-1]).any()
    assert started[~outcome.broken].all()
    count = started.sum(1)
    fell_early = outcome.broken & (count < 4)
    assert fell_early.any()
    assert (~outcome.broken).any()
    points = attack.steps + 1
    assert (outcome.forwards[~outcome.broken] == 4 * points).all()
    # Fallen in restart r: all points of those before it, some of its own, and the verification.
    looked = outcome.forwards[outcome.broken] - 2
    assert (looked > (count[outcome.broken] - 1) * points).all()
    assert (looked <= count[outcome.broken] * points).all()


def test_restarts_start_elsewhere():
    victim = cnn_victim(X)
    outcome = run_attack(
        victim, PGD(steps=1, restarts=3), block_of(victim, X), "linf", 1e-3
    ).outcome
    assert not outcome.broken.any()
    assert (outcome.loss[:, 0] != outcome.loss[:, 1]).any()
    assert (outcome.loss[:, 1] != outcome.loss[:, 2]).any()


@toy()
@dataclass(frozen=True)
class KeepsItsNoise:
    """Draws under one name at the start and at every step."""

    drawn: list[torch.Tensor] = field(default_factory=list)
    steps = 3
    restarts = 2

    def start(self, task: Task) -> State:
        self.drawn.append(task.noise("same").uniform(5))
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.drawn.append(task.noise("same").uniform(5))
        return state


def test_noise_of_one_name_is_new_at_the_start_every_step_and_every_restart():
    victim, attack = cnn_victim(X), KeepsItsNoise()
    run_attack(victim, attack, block_of(victim, X), "linf", 1e-3)
    drawn = torch.stack(attack.drawn)
    assert len(drawn) == 2 * 4
    assert len(drawn.flatten(1).unique(dim=0)) == len(drawn)


def test_one_more_restart_never_saves_an_image(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    one, three = (
        run_attack(victim, PGD(steps=2, restarts=r), block, norm_name, EPSILON[norm_name]).outcome
        for r in (1, 3)
    )
    assert not (one.broken & ~three.broken).any()
    assert torch.equal(one.loss[:, 0], three.loss[:, 0])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("attack", [*ATTACKS, PGD(steps=3, eot=2)], ids=lambda a: type(a).__name__)
def test_passes_reported_are_passes_made(attack, batch_size):
    counted = Counted(cnn_victim(X).module)
    victim = Victim("counted", counted, precision=torch.float64)
    block = block_of(victim, X, IDS)
    with torch.no_grad():
        victim.logits(X[:1])  # the helper below asks once for the number of classes
    surrogate = naive(victim).averaged(getattr(attack, "eot", 1))
    counted.forwards, before = -1, victim.passes.forwards + 1
    outcome = run_attack(
        victim, attack, block, "linf", EPSILON["linf"], batch_size=batch_size, surrogate=surrogate
    ).outcome
    assert 0 < int(outcome.broken.sum()) < N
    assert counted.forwards == int(outcome.forwards.sum()) == victim.passes.forwards - before
    assert counted.backwards == int(outcome.backwards.sum()) == victim.passes.backwards


def test_scores_attacks_cost_no_backward_pass_and_the_last_point_none_either():
    victim = cnn_victim(X)
    block = block_of(victim, X)
    noise = run_attack(victim, Noise(samples=5), block, "linf", 0.001).outcome
    assert noise.backwards.sum() == 0
    assert noise.forwards.tolist() == [5] * N
    pgd = run_attack(victim, PGD(steps=5), block, "linf", 0.001, batch_size=N).outcome
    assert pgd.forwards.tolist() == [6] * N
    assert pgd.backwards.tolist() == [5] * N


def test_a_fooled_image_is_not_looked_at_again():
    """It costs one forward and one backward pass at the start, and the verification: two more."""
    victim, block = always_wrong()
    counted = Counted(Linear(victim.module.W.detach(), victim.module.b.detach()))
    victim = Victim("counted", counted, precision=torch.float64)
    outcome = run_attack(victim, Claims("clean"), block, "linf", 0.1).outcome
    assert outcome.forwards.tolist() == [3] * len(block)
    assert outcome.broken.all()


def test_gradients_that_are_zero_are_reported_by_image():
    class HalfFlat(nn.Module):
        def forward(self, x):
            total = x.flatten(1).sum(1) * (x[:, 0, 0, 0] < 0.5)
            return torch.stack([5 + total, total * 0], 1)

    x = X.clone()
    x[:, 0, 0, 0] = torch.where(torch.arange(N) % 2 == 0, 0.2, 0.8)
    victim = Victim("flat", HalfFlat(), precision=torch.float64)
    outcome = run_attack(
        victim, PGD(steps=2, loss="margin"), block_of(victim, x), "linf", 0.1
    ).outcome
    assert outcome.zero.tolist() == [False, True] * (N // 2)
    assert not outcome.nonfinite.any()
