"""Shortest shifts onto hyperplanes inside the box, against general solvers and a slow reference."""

from __future__ import annotations

import core_reference as reference
import numpy as np
import pytest
import torch
from core_models import normal, uniform
from scipy.optimize import linprog, minimize

from auditor_plugins.fab.hyperplane import shortest_shift

PIXELS = 12


def least_length(x: np.ndarray, w: np.ndarray, value: float, norm: str) -> float:
    """The length of the shortest shift: a linear programme, in l2 a quadratic one, in d = u - v."""
    n = len(x)
    room, equal = np.concatenate([1 - x, x]), np.concatenate([w, -w])
    if norm == "l2":
        found = minimize(
            lambda d: d @ d,
            np.zeros(2 * n),
            jac=lambda d: 2 * d,
            bounds=[(0, r) for r in room],
            constraints={"type": "eq", "fun": lambda d: equal @ d + value, "jac": lambda d: equal},
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 500},
        )
        return float(np.linalg.norm(found.x[:n] - found.x[n:]))
    bounds = [(0, r) for r in room]
    if norm == "l1":
        cost, upper = np.ones(2 * n), None
    else:  # a further variable is the largest of all
        cost, equal = np.eye(2 * n + 1)[-1], np.append(equal, 0)
        upper = np.hstack([np.eye(2 * n), -np.ones((2 * n, 1))])
        bounds.append((0, None))
    found = linprog(
        cost,
        A_ub=upper,
        b_ub=None if upper is None else np.zeros(2 * n),
        A_eq=equal[None],
        b_eq=[-value],
        bounds=bounds,
        method="highs",
    )
    assert found.success
    return float(found.fun)


def points(place: str, count: int, pixels: int = PIXELS) -> torch.Tensor:
    x = uniform(2, count, pixels, seed=1)
    return 0.3 + 0.4 * x if place == "inside" else (2 * x - 0.5).clamp(0, 1)


def reachable(x: torch.Tensor, w: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Values such that `share` (P, B) of the way that the box allows leads to the plane."""
    up = (w * torch.where(w > 0, 1 - x, -x)).sum(-1)
    down = (w * torch.where(w > 0, x, x - 1)).sum(-1)
    return torch.where(share > 0, share * down, share * up)


def weights(kind: str, count: int, pixels: int = PIXELS) -> torch.Tensor:
    w = normal(count, pixels, seed=2) * torch.exp(normal(count, pixels, seed=3))
    if kind == "with zeros":
        w[:, ::3] = 0
    if kind == "alike":
        w = w.sign()
    return w


@pytest.mark.parametrize("kind", ["dense", "with zeros", "alike"])
@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_general_solvers_find_nothing_shorter(norm_name, place, kind):
    x, w = points(place, 5), weights(kind, 5)
    value = reachable(x, w, 1.8 * uniform(2, 5, seed=4) - 0.9)
    shift = shortest_shift(norm_name, x, w, value)
    assert torch.allclose((w * shift).sum(-1), -value, rtol=0, atol=1e-12)
    assert (x + shift).min() >= -1e-15
    assert (x + shift).max() <= 1 + 1e-15
    for p, b in np.ndindex(2, 5):
        expected = least_length(x[p, b].numpy(), w[b].numpy(), value[p, b].item(), norm_name)
        found = reference.length(shift[p, b].numpy(), norm_name)
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", ["dense", "with zeros"])
def test_shifts_are_those_of_the_reference_whatever_the_scale(norm_name, kind):
    """Of the planes, the first and the last are further away than the box reaches."""
    x, w = points("at the box", 8, 40), weights(kind, 8, 40)
    value = reachable(x, w, torch.linspace(-1.1, 1.1, 16, dtype=torch.float64).view(2, 8))
    expected = np.array(
        [
            [reference.shift_onto_plane(*one, norm_name) for one in zip(*rows, strict=True)]
            for rows in zip(x.numpy(), [w.numpy()] * 2, value.numpy(), strict=True)
        ]
    )
    for scale in (1e-30, 1e-3, 1.0, 1e30):
        for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
            scaled = (scale * w).to(dtype), (scale * value).to(dtype)
            shift = shortest_shift(norm_name, x.to(dtype), *scaled).double().numpy()
            assert np.abs(shift - expected).max() <= tolerance


def test_a_point_near_its_plane_is_shifted_exactly_in_float32(norm_name):
    """The gap is a millionth of <w, x>: a shift that came from b would be noise."""
    x, w = points("at the box", 6, 40).float(), weights("dense", 6, 40).float()
    value = reachable(x, w, torch.full((2, 6), 1e-6)).float()
    shift = shortest_shift(norm_name, x, w, value).double()
    assert torch.allclose((w.double() * shift).sum(-1), -value.double(), rtol=1e-5, atol=0)


def test_where_the_box_does_not_reach_the_plane_it_goes_as_far_as_it_can(norm_name):
    x, w = points("at the box", 6), weights("with zeros", 6)
    value = reachable(x, w, torch.full((2, 6), 1.01).copysign(normal(2, 6)))
    shift = shortest_shift(norm_name, x, w, value)
    for p, b in np.ndindex(2, 6):
        towards = -(w[b] * value[p, b]).sign()
        corner = torch.where(towards > 0, 1 - x[p, b], torch.where(towards < 0, -x[p, b], 0))
        assert torch.equal(shift[p, b], corner)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_no_gradient_or_no_gap_is_no_shift(norm_name, dtype):
    x, w = points("at the box", 4).to(dtype), weights("dense", 4).to(dtype)
    nowhere = shortest_shift(norm_name, x, torch.zeros_like(w), torch.ones(2, 4, dtype=dtype))
    assert torch.equal(nowhere, torch.zeros_like(x))
    there = shortest_shift(norm_name, x, w, torch.zeros(2, 4, dtype=dtype))
    assert torch.equal(there, torch.zeros_like(x))


def test_a_row_does_not_depend_on_the_others(norm_name):
    """Among 200 pixels: in l1 some rows need more of them than are sorted at first."""
    x, w = points("at the box", 16, 200).float(), weights("dense", 16, 200).float()
    value = reachable(x, w, 2.2 * uniform(2, 16, seed=6) - 1.1).float()
    together = shortest_shift(norm_name, x, w, value)
    moved = (together != 0).sum(-1)
    assert moved.max() > 64 > moved.min() or norm_name != "l1"
    for b in range(16):
        row = slice(b, b + 1)
        alone = shortest_shift(norm_name, x[:, row], w[row], value[:, row])
        assert torch.equal(alone, together[:, row])


def test_the_arguments_stay_as_they_are(norm_name):
    arguments = points("inside", 3), weights("dense", 3), normal(2, 3)
    copies = [argument.clone() for argument in arguments]
    shortest_shift(norm_name, *arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, copies, strict=True))
