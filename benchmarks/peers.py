"""AutoAttack and its single attacks as torchattacks and pyautoattack have them, called alike.

Each function attacks the images of a `Task` in batches and returns the peer's points,
(n, C, H, W), on which the peer's own word is not to be taken. The peers come with the `bench`
extra; torchattacks has no l1.

What a comparison has to know:

* torchattacks' AutoAttack takes 10 steps where the paper and pyautoattack take 100, and its Square
  runs the paper's schedule of sizes compressed to its 5,000 queries. With `steps=100` its APGD and
  FAB are the paper's.
* Both draw a batch's random numbers anew from the same seed, Square places one square for the whole
  batch, and torchattacks' APGD-T steps in l2 with the size of the batch's first image: what happens
  to an image depends on its batch.
* pyautoattack asks the model about the first batch seven times more than it attacks it, in its
  checks for randomness, range and dynamics; the last of them ends any tracing, so that a debugger
  or a coverage tool sees nothing afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
#: The losses of APGD; "targeted" is the targeted DLR loss, one target class after another.
LOSSES = ("ce", "dlr", "targeted")
#: With fewer classes there is no targeted DLR loss, and AutoAttack does without that attack.
_DLR_CLASSES = 4


@dataclass(frozen=True)
class Task:
    """What every attack here is given: correctly classified images and the ball around them."""

    model: nn.Module
    x: Tensor  # (n, C, H, W) in [0, 1]
    y: Tensor  # (n,)
    norm: str
    epsilon: float
    seed: int = 0
    batch_size: int = 250
    classes: int = 10
    targets: int = 9  # how many of the likeliest wrong classes targeted attacks aim at

    def batched(self, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The attack's points, batch by batch."""
        pairs = zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True)
        return torch.cat([attack(x.clone(), y.clone()).detach() for x, y in pairs])


def torchattacks_autoattack(task: Task, steps: int | None = None) -> Tensor:
    """torchattacks' AutoAttack "standard"; `steps` replaces the 10 of its APGD and FAB."""
    import torchattacks

    attack = torchattacks.AutoAttack(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, version="standard",
        n_classes=task.classes, seed=task.seed,
    )  # fmt: skip
    parts = attack._autoattack.attacks
    if task.classes < _DLR_CLASSES:
        parts = [part for part in parts if not isinstance(part, torchattacks.APGDT)]
        attack._autoattack.attacks = parts
    for part in parts:
        if steps is not None and hasattr(part, "steps"):
            part.steps = steps
        if hasattr(part, "n_target_classes"):
            part.n_target_classes = _targets(task)
    return task.batched(attack)


def pyautoattack_autoattack(task: Task) -> Tensor:
    """pyautoattack's AutoAttack "standard": the authors' code, packaged."""
    from pyautoattack import AutoAttack

    _quiet()
    attack = AutoAttack(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, version="standard", seed=task.seed,
        device=task.x.device,
    )  # fmt: skip
    attack.fab.n_target_classes = _targets(task)
    attack.apgd_targeted.n_target_classes = min(
        attack.apgd_targeted.n_target_classes, _targets(task)
    )
    if task.classes < _DLR_CLASSES:
        attack.attacks_to_run.remove("apgd-t")
    points, _ = attack.run_standard_evaluation(task.x, task.y, batch_size=task.batch_size)
    return points.detach()


def torchattacks_apgd(task: Task, loss: str = "ce", steps: int = 100, restarts: int = 1) -> Tensor:
    """torchattacks' APGD, or with `loss="targeted"` its APGDT."""
    import torchattacks

    settings = {"norm": _NAMES[task.norm], "eps": task.epsilon, "steps": steps,
                "n_restarts": restarts, "seed": task.seed}  # fmt: skip
    if loss == "targeted":
        attack = torchattacks.APGDT(task.model, n_classes=task.classes, **settings)
        attack.n_target_classes = _targets(task)
        return task.batched(attack)
    return task.batched(torchattacks.APGD(task.model, loss=loss, **settings))


def pyautoattack_apgd(task: Task, loss: str = "ce", steps: int = 100, restarts: int = 1) -> Tensor:
    """pyautoattack's APGD; in l1 from larger balls inwards, as in its AutoAttack."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    _quiet()
    settings = {"norm": _NAMES[task.norm], "eps": task.epsilon, "n_iter": steps,
                "n_restarts": restarts, "seed": task.seed, "device": task.x.device,
                "use_largereps": task.norm == "l1", "logger": _LOGGER}  # fmt: skip
    if loss == "targeted":
        targets = min(5, _targets(task)) if task.norm == "l1" else _targets(task)
        attack = APGDAttack_targeted(task.model, n_target_classes=targets, **settings)
    else:
        attack = APGDAttack(task.model, loss=loss, **settings)
    return _without_graph(task, attack.perturb)


def torchattacks_fab(
    task: Task, targeted: bool = True, steps: int = 100, restarts: int = 1
) -> Tensor:
    """torchattacks' FAB, towards each class in turn if `targeted`."""
    import torchattacks

    attack = torchattacks.FAB(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, steps=steps, n_restarts=restarts,
        seed=task.seed, multi_targeted=targeted, n_classes=task.classes,
    )  # fmt: skip
    attack.n_target_classes = _targets(task)
    return task.batched(attack)


def pyautoattack_fab(
    task: Task, targeted: bool = True, steps: int = 100, restarts: int = 1
) -> Tensor:
    """pyautoattack's FAB, towards each class in turn if `targeted`."""
    from pyautoattack.fab_pt import FABAttack_PT

    attack = FABAttack_PT(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, n_iter=steps, n_restarts=restarts,
        seed=task.seed, targeted=targeted, n_target_classes=_targets(task), device=task.x.device,
    )  # fmt: skip
    return _without_graph(task, attack.perturb)


def torchattacks_square(task: Task, queries: int = 5000, rescaled: bool = False) -> Tensor:
    """torchattacks' Square; `rescaled` compresses the schedule to `queries`, as its default is."""
    import torchattacks

    attack = torchattacks.Square(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, n_queries=queries, seed=task.seed,
        resc_schedule=rescaled,
    )  # fmt: skip
    return task.batched(attack)


def pyautoattack_square(task: Task, queries: int = 5000, rescaled: bool = False) -> Tensor:
    """pyautoattack's Square; `rescaled` compresses the schedule to `queries`."""
    from pyautoattack.square import SquareAttack

    attack = SquareAttack(
        task.model, norm=_NAMES[task.norm], eps=task.epsilon, n_queries=queries, seed=task.seed,
        resc_schedule=rescaled, device=task.x.device,
    )  # fmt: skip
    return _without_graph(task, attack.perturb)


_LOGGER = logging.getLogger("auto-attack")  # pyautoattack's own


def _quiet() -> None:
    """Let pyautoattack's hints, such as that a gradient is zero, go unseen."""
    _LOGGER.setLevel(logging.ERROR)


def _targets(task: Task) -> int:
    return min(task.targets, task.classes - 1)


def _without_graph(task: Task, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Run one of pyautoattack's attacks as its AutoAttack does."""
    with torch.no_grad():
        return task.batched(attack)
