"""AutoAttack as pyautoattack runs it: an oracle beside our own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import torch

from auditor.api import GRADIENT, Surrogate, Task, attack, import_extra, param

from .bridge import as_module

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


@attack(
    name="pyautoattack",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Croce & Hein 2020, arXiv:2003.01690; 2021, arXiv:2103.01208 (l1)",
)
@dataclass(frozen=True)
class PyAutoAttack:
    """AutoAttack of the package pyautoattack, for comparison with `autoattack`.

    Its targeted parts need at least four classes.
    """

    version: Literal["standard", "plus", "rand"] = param("standard", "the package's version")

    def passes(self, classes: int) -> tuple[int, int]:
        """On an image that withstands, about: 100 steps of APGD and FAB, 5000 queries."""
        targets = min(classes - 1, 9)
        gradients = 100 * (1 + 2 * targets)
        return gradients + 5000, gradients

    def perturb(self, surrogate: Surrogate, task: Task) -> torch.Tensor:
        """What the package returns: adversarial images where it found one, else clean ones."""
        package, module = (
            import_extra("pyautoattack", "pyautoattack", "[[attack]]"),
            as_module(surrogate),
        )
        x = task.x.float()
        seed = int(task.noise("seed").uniform(1)[0, 0] * 2**24)
        oracle = package.AutoAttack(
            module,
            norm=_NORMS[task.ball.norm.name],
            eps=task.ball.epsilon,
            device=x.device,
            seed=seed,
            version=self.version,
        )
        oracle.verbose = False
        oracle.logger.setLevel(logging.ERROR)  # few classes are said in every batch
        with torch.no_grad():
            others = module(x[:1]).shape[1] - 1
        if others < 3 and self.version != "rand":
            raise ValueError(
                f"the package needs 4 classes and the model has {others + 1}: "
                'version = "rand" needs 3, and `autoattack` any number'
            )
        for part in (
            oracle.apgd_targeted,
            oracle.fab,
        ):  # the package aims at 9 of them, there or not
            part.n_target_classes = min(part.n_target_classes, others)
        found, _ = oracle.run_standard_evaluation(x, task.y, batch_size=len(x))
        adversarial: torch.Tensor = found.to(task.x.dtype)
        return adversarial
