"""Looks at what an attack proposes: a State, with a row per image, in ball and box."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from auditor.maths.norms import Ball
from auditor.protocols.attack import State, Task, Wishes
from auditor.testing.property import Violation

_PROJECT = "project at the end of `start` and of every `step`: task.ball.project(x)"
#: The names of a State's fields, with the type and shape of a row.
Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def look_at(
    state: Any, task: Task, wishes: Wishes, when: str, layout: Layout
) -> Iterator[Violation]:
    """Everything wrong with what `start` or `step` returned.

    Args:
        task: as it was given, not as the attack left it.
        when: "start" or "step".
        layout: filled in by the first call of a run, compared by later ones.
    """
    if fault := _protocol(state, task, wishes, when):
        yield Violation("protocol", *fault)
        return
    yield from (Violation("state-rows", *fault) for fault in _rows(state, len(task.x), layout))
    points = state.x.detach()
    x0 = task.ball.x0
    if wishes.points > 1:
        points, x0 = points.flatten(0, 1), x0.repeat_interleave(wishes.points, 0)
    if not len(points):
        return
    if not points.isfinite().all():
        row = int((~points.isfinite().flatten(1).all(1)).nonzero()[0])
        yield Violation(
            "finite",
            f"`{when}` proposed NaN or infinity for image {row // wishes.points} of its batch",
            "finite pixels, whatever was seen",
            "a division by zero, such as by the norm of a gradient that is zero: clamp the "
            "divisor, or use task.ball.steepest",
        )
        return
    ball = dataclasses.replace(task.ball, x0=x0)
    in_box, in_ball = ball.contains(points)
    if not in_box.all():
        row = int((~in_box).nonzero()[0])
        low, high = points[row].min().item(), points[row].max().item()
        yield Violation(
            "box",
            f"`{when}` proposed pixels from {low:.4g} to {high:.4g}",
            "every pixel in [0, 1], exactly",
            _PROJECT + " keeps the box as well",
        )
    outside = getattr(state, "outside", None)
    if wishes.minimises or in_ball.all():
        return
    if outside is not None:
        in_ball = in_ball | outside.repeat_interleave(wishes.points)
    if not in_ball.all():
        yield _out_of_ball(ball, points, int((~in_ball).nonzero()[0]), wishes.points, when)


def _protocol(state: Any, task: Task, wishes: Wishes, when: str) -> tuple[str, str, str] | None:
    """(seen, expected, cause) if rows cannot even be taken from it."""
    if not isinstance(state, State):
        expected = "a State (or a dataclass derived from it)"
        return f"`{when}` returned {type(state).__name__}", expected, "return State(x=...)"
    shape = tuple(task.x.shape)
    if wishes.points > 1:
        shape = (shape[0], wishes.points, *shape[1:])
    expected = f"x as a tensor {shape} of {task.x.dtype} on {task.x.device}, like task.x"
    x = state.x
    if not isinstance(x, torch.Tensor):
        return f"`{when}` proposed x as {type(x).__name__}", expected, "x has to be a tensor"
    if tuple(x.shape) != shape:
        cause = "an axis was added, dropped or summed over; or `points` does not say how many"
        return f"`{when}` proposed x of shape {tuple(x.shape)}", expected, cause
    if x.dtype != task.x.dtype:
        cause = (
            "tensors made without dtype=task.x.dtype, or a conversion such as .float(): "
            "make them with torch.zeros_like(task.x), task.x.new_tensor(...)"
        )
        return f"`{when}` proposed x of {x.dtype}", expected, cause
    return None


def _rows(state: State, images: int, layout: Layout) -> Iterator[tuple[str, str, str]]:
    """Fields that cannot be taken apart by image."""
    names = {one.name for one in dataclasses.fields(state)}
    cause = (
        "images leave and come in at every step, so the state is cut by rows: keep what is the "
        "same for all in the attack's parameters, everything else as a tensor of shape (B, ...)"
    )
    for name, value in vars(state).items():
        field = f"{type(state).__name__}.{name}"
        expected = "fields of a dataclass, each a tensor with one row per image"
        if name not in names:
            kept = "declare it in a dataclass derived from State, else it is lost with the step"
            yield f"{field} is no field of the dataclass", expected, kept
        elif isinstance(value, torch.Tensor):
            if value.shape[:1] != (images,):
                yield f"{field} has shape {tuple(value.shape)} for {images} images", expected, cause
        elif value is not None:
            yield f"{field} is {type(value).__name__}", expected, cause
    now = {
        name: (value.dtype, tuple(value.shape[1:]))
        for name, value in vars(state).items()
        if isinstance(value, torch.Tensor)
    }
    if not layout:
        layout.update(now)
    for name in layout.keys() | now.keys():
        if layout.get(name) != now.get(name):
            yield (
                f"State.{name} was {layout.get(name)} at first and is {now.get(name)} later",
                "the same type and shape of a row in every state, for states are put together",
                "make the field in `start` as `step` leaves it",
            )


def _out_of_ball(
    ball: Ball, points: torch.Tensor, row: int, per_image: int, when: str
) -> Violation:
    distance = ball.distance(points)[row].item()
    others = dataclasses.replace(ball, x0=ball.x0[::per_image])
    again = points[row : row + 1].expand_as(others.x0)
    cause = _PROJECT
    if bool(others.contains(again)[1].any()):
        cause = (
            "it lies in the ball of another image of the batch: rows were mixed up. Keep the best "
            "of each image by torch.where over rows, not by an index over the batch"
        )
    return Violation(
        "ball",
        f"`{when}` proposed a point {distance:.4g} from its clean image "
        f"({ball.norm.name}, image {row // per_image} of its batch)",
        f"at most epsilon = {ball.epsilon:.4g}",
        cause,
    )
