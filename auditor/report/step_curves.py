"""Step curves: accuracy at every epsilon, from the distances that an attack found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.results import AttackResult, ThreatResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How far the axis goes on beyond the largest epsilon audited, as a part of it.
BEYOND = 0.08
#: Of more the steps could not be told apart.
_SHOWN = 2


@dataclass(frozen=True)
class Steps:
    """A curve that falls at every distance at which an image fell."""

    attack: str
    colour: str
    epsilons: tuple[float, ...]
    accuracies: tuple[float, ...]


def step_curves(threats: Sequence[ThreatResult], colours: Mapping[str, str]) -> list[Steps]:
    """The curves of the attacks in `colours`, the lowest ones, from 0 to a little too far.

    Args:
        threats: of one norm, ascending in epsilon.
    """
    found: dict[str, AttackResult] = {}
    for threat in threats:
        for attack in threat.attacks:
            if attack.curve and attack.label in colours:
                found[attack.label] = attack  # the run at the largest epsilon knows most
    right = (1 + BEYOND) * threats[-1].epsilon
    curves = []
    for label, attack in found.items():
        inside = [point for point in attack.curve if point.epsilon <= right]
        if inside:
            x = (*(point.epsilon for point in inside), right)
            y = (*(point.accuracy for point in inside), inside[-1].accuracy)
            curves.append(Steps(label, colours[label], x, y))
    return sorted(curves, key=lambda curve: curve.accuracies[-1])[:_SHOWN]


def draw_steps(axes: Axes, curve: Steps) -> None:
    """A thin line without marks: it holds between the audited epsilons too."""
    axes.plot(
        curve.epsilons,
        curve.accuracies,
        drawstyle="steps-post",
        color=curve.colour,
        linewidth=0.7,
        zorder=2,
    )
