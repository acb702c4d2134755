"""Slow, independent answers in float64 NumPy and SciPy: nothing here comes from the auditor."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, linprog, minimize

ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def length(delta: np.ndarray, norm: str) -> float:
    return float(np.linalg.norm(np.ravel(delta), ORDER[norm]))


def best_step(g: np.ndarray, x: np.ndarray, radius: float, norm: str) -> np.ndarray:
    """argmax g·d over |d| <= radius and x + d in [0, 1]."""
    g, x = np.ravel(g).astype(float), np.ravel(x).astype(float)
    if norm == "linf":
        return np.where(
            g > 0, np.minimum(radius, 1 - x), np.where(g < 0, -np.minimum(radius, x), 0)
        )
    if norm == "l1":
        return _best_l1_step(g, x, radius)
    return _best_l2_step(g, x, radius)


def best_gain(g: np.ndarray, x: np.ndarray, radius: float, norm: str) -> float:
    return float(np.ravel(g).astype(float) @ best_step(g, x, radius, norm))


def _best_l1_step(g: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """The linear programme in d = u - v with u, v >= 0, solved by a general solver."""
    n, scale = len(g), np.abs(g).max()
    if scale == 0:
        return np.zeros(n)
    solution = linprog(
        np.concatenate([-g, g]) / scale,
        A_ub=np.ones((1, 2 * n)),
        b_ub=[radius],
        bounds=[(0, room) for room in np.concatenate([1 - x, x])],
        method="highs",
    )
    return solution.x[:n] - solution.x[n:]


def _best_l2_step(g: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """d = clip(g / m), the multiplier m of the ball found by bisection on its logarithm."""
    free = np.where(g > 0, 1 - x, np.where(g < 0, x, 0)) > 0
    scale = np.abs(g[free]).max(initial=0)
    if scale == 0:
        return np.zeros_like(g)
    g = np.where(free, g / scale, 0)

    def step(log_multiplier: float) -> np.ndarray:
        return np.clip(g * np.exp(-log_multiplier), -x, 1 - x)

    def excess(log_multiplier: float) -> float:
        return float(np.linalg.norm(step(log_multiplier))) - radius

    low, high = -60.0, 60.0
    return step(low) if excess(low) <= 0 else step(brentq(excess, low, high, xtol=1e-14))


def projection(x: np.ndarray, x0: np.ndarray, radius: float, norm: str) -> np.ndarray:
    """The point of ball and box nearest to x, from the Lagrangian of the ball's constraint."""
    x, x0 = np.ravel(x).astype(float), np.ravel(x0).astype(float)

    def relaxed(multiplier: float) -> np.ndarray:
        if norm == "linf":
            return np.clip(x0 + np.clip(x - x0, -radius, radius), 0, 1)
        if norm == "l2":
            return np.clip((x + multiplier * x0) / (1 + multiplier), 0, 1)
        shrunk = np.sign(x - x0) * np.maximum(np.abs(x - x0) - multiplier, 0)
        return np.clip(x0 + shrunk, 0, 1)

    def excess(multiplier: float) -> float:
        return length(relaxed(multiplier) - x0, norm) - radius

    if norm == "linf" or excess(0) <= 0:
        return relaxed(0)
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return relaxed(brentq(excess, 0, high, xtol=1e-15, rtol=1e-14))


def projection_by_general_solver(
    x: np.ndarray, x0: np.ndarray, radius: float, norm: str
) -> np.ndarray:
    """The same by sequential quadratic programming in z = x0 + u - v."""
    n = len(x0)

    def delta(w: np.ndarray) -> np.ndarray:
        return w[:n] - w[n:]

    def objective(w: np.ndarray) -> float:
        # The tiny term keeps u and v from growing together, where only u - v matters.
        return float(np.sum((x0 + delta(w) - x) ** 2)) + 1e-10 * float(w @ w)

    slack = {
        "linf": lambda w: radius - w,
        "l2": lambda w: radius**2 - np.sum(delta(w) ** 2),
        "l1": lambda w: radius - np.sum(w),
    }[norm]
    bounds = [(0, room) for room in np.concatenate([1 - x0, x0])]
    found = minimize(
        objective,
        np.full(2 * n, 1e-3),
        bounds=bounds,
        constraints={"type": "ineq", "fun": slack},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return x0 + delta(found.x)


def random_feasible(
    rng: np.random.Generator, x0: np.ndarray, radius: float, norm: str, count: int
) -> np.ndarray:
    """(count, N) points of ball and box: random directions, shortened into both."""
    delta = rng.standard_normal((count, x0.size)) * rng.exponential(1, (count, x0.size))
    norms = np.linalg.norm(delta, ORDER[norm], axis=1, keepdims=True)
    delta *= radius * rng.uniform(0.2, 1, (count, 1)) / norms
    # Clipping to the box only shortens every coordinate, so the ball still holds.
    return np.clip(np.ravel(x0) + delta, 0, 1)


def shift_onto_plane(x: np.ndarray, w: np.ndarray, value: float, norm: str) -> np.ndarray:
    """The shortest d with w·d = -value and x + d in [0, 1]; the furthest one if there is none."""
    sign = -np.sign(w * value)
    room = np.where(sign > 0, 1 - x, np.where(sign < 0, x, 0))
    size = np.abs(w)
    if abs(value) >= size @ room:
        return sign * room
    if norm == "l1":
        d, gap = np.zeros_like(x), abs(value)
        for i in np.argsort(-size):
            d[i] = min(room[i], gap / size[i])
            gap -= size[i] * d[i]
            if gap <= 0:
                break
        return sign * d
    pace = size if norm == "l2" else np.ones_like(size)

    def length_at(level: float) -> np.ndarray:
        return np.minimum(level * pace, room)

    high = 1.0
    while size @ length_at(high) < abs(value):
        high *= 2
    level = brentq(lambda level: size @ length_at(level) - abs(value), 0, high, xtol=1e-15)
    return sign * length_at(level)
