"""The development networks and what is reckoned with their measurements."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS)]
try:
    import coverage_of_samples
    from cascade_tables import by_stages
    from development.architectures import Binary, Ternary, conv_net, plain_relu_net, quantised
    from development.bounds import intervals
    from development.plans import PLANS, TIMED, of_split
finally:
    sys.path.remove(str(BENCHMARKS))

SHAPES = {"mnist-pairs": (1, 14, 28), "cifar10": (3, 32, 32), "cifar10-vehicles": (3, 32, 32)}
#: Those of the choosing half that were not drawn for it.
CHOSEN_ON_BEFORE = {
    "fashion-trades", "cifar-adversarial", "mnist-adversarial", "cifar-plain", "fashion-plain",
}  # fmt: skip
ADDED = {"pairs-plain"}


def smallest(names: set[str], count: int, purpose: str = "") -> set[str]:
    return set(sorted(names, key=lambda name: _digest(purpose + name))[:count])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_split_is_the_draw_that_was_stated() -> None:
    choosing, measured = set(of_split("choose")), set(of_split("measure"))
    assert measured == smallest(set(PLANS) - CHOSEN_ON_BEFORE - ADDED, 14)
    assert choosing == set(PLANS) - measured
    assert set(TIMED) == smallest(measured, 4, "time ")
    for half in (choosing - ADDED, measured):
        several = {name for name in half if len(PLANS[name].norms) > 1}
        assert several == smallest(half, 5, "norms ")


@pytest.mark.parametrize("name", PLANS)
def test_every_network_can_learn_what_it_is_to_learn(name: str) -> None:
    plan = PLANS[name]
    torch.manual_seed(0)
    model, x = plan.build(), torch.rand(8, *SHAPES.get(plan.data, (1, 28, 28)))
    y = torch.randint(plan.classes, (8,))
    plan.loss(model.train(), x, y, 1.0).backward()
    assert model.eval()(x).shape == (8, plan.classes)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in gradients)
    assert all(grad.any() for grad in gradients[:1])


def test_interval_bounds_hold_for_every_image_of_the_box() -> None:
    torch.manual_seed(0)
    model, x = plain_relu_net(), torch.rand(4, 1, 28, 28)
    assert isinstance(model, nn.Sequential)
    low, high = intervals(model, (x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1))
    for _ in range(20):
        z = model((x + 0.1 * torch.randn_like(x).sign()).clamp(0, 1))
        assert ((low <= z) & (z <= high)).all()
    tight_low, tight_high = intervals(model, x, x)
    torch.testing.assert_close(tight_low, model(x))
    torch.testing.assert_close(tight_high, model(x))


@pytest.mark.parametrize(("kind", "values"), [(Binary, 2), (Ternary, 3)])
def test_quantised_weights_take_few_values(kind: type[nn.Module], values: int) -> None:
    model = quantised(conv_net(), kind)
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for unit in layers[1].weight[:3]:
        assert len(unit.unique()) == values
    assert len(layers[-1].weight[0].unique()) > values


def test_stages_grow_on_as_they_grew() -> None:
    def row(images: int, sweep: int, sampled: int) -> dict[str, object]:
        stages = [
            {"name": "sweep", "images": sweep, "seconds": sweep / 100},
            {"name": "sample: x", "images": sampled, "seconds": 5.0},
        ]
        seconds = sweep / 100 + 5
        return {"images": images, "by": {"cascade": {"seconds": seconds, "stages": stages}}}

    assert by_stages(row(300, 300, 60), row(2000, 2000, 60), 10_000) == pytest.approx(100 + 5)


def test_a_redraw_counts_what_is_really_left() -> None:
    row = {"seed": 0, "survivors": list(range(0, 200, 2)), "broken": {"a": [0, 2], "b": [4]}}
    everything, left = coverage_of_samples.redraw(row, 1000, 0)
    assert (everything.survivors, everything.most, left) == (97, 0, 0)
    seen = [coverage_of_samples.redraw(row, 10, number) for number in range(200)]
    counts = {left for _, left in seen}
    assert counts <= {0, 1, 2, 3}
    assert {3} < counts
    assert all(evidence.survivors == 97 + left for evidence, left in seen)
