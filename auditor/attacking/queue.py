"""Which lanes start next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from auditor.attacking.lanes import LanePlan


class LaneQueue:
    """The lanes of a plan in the order in which they start.

    Lanes of one row and turn start together; those of the next turn once all of these have ended,
    unless the row has fallen.
    """

    def __init__(self, plan: LanePlan) -> None:
        turns: dict[int, dict[int, list[int]]] = {}
        rows, order = plan.row.tolist(), plan.turn.tolist()
        for lane, (row, turn) in enumerate(zip(rows, order, strict=True)):
            turns.setdefault(row, {}).setdefault(turn, []).append(lane)
        self._groups = {row: deque(lanes for _, lanes in sorted(of.items()))
                        for row, of in turns.items()}  # fmt: skip
        self._ready = deque(self._groups)
        self._running: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Whether any lane may start now."""
        return bool(self._ready)

    def take(self, free: int, *, idle: bool) -> list[int]:
        """Lanes that start now, at most `free` of them; if `idle`, one whole group in any case."""
        taken: list[int] = []
        while self._ready:
            group = self._groups[self._ready[0]][0]
            if len(taken) + len(group) > free and (taken or not idle):
                break
            row = self._ready.popleft()
            self._groups[row].popleft()
            self._running[row] = len(group)
            taken += group
        return taken

    def end(self, rows: Sequence[int], fallen: Sequence[bool]) -> int:
        """Lanes of these rows have ended; returns how many rows are thereby finished."""
        finished = 0
        for row, fell in zip(rows, fallen, strict=True):
            self._running[row] -= 1
            if self._running[row]:
                continue
            if self._groups[row] and not fell:
                self._ready.append(row)
            else:
                finished += 1
        return finished
