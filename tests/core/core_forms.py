"""A network with BatchNorm, in float32 as deployed models are, and what a surrogate sees of it."""

from __future__ import annotations

import torch
from core_models import uniform
from torch import nn

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Normalize, Victim
from auditor.surrogate import Evaluation, Surrogate, naive

X = uniform(6, 3, 10, 12, seed=1, dtype=torch.float32)
Y = torch.arange(6) % 4
NORMALIZE = Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """With weights, running means and variances that are nothing special."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if not tensor.is_floating_point():
                continue
            drawn = torch.randn(tensor.shape, generator=generator)
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            tensor.copy_(0.5 + drawn.abs() if name.endswith("var") else drawn / fan_in**0.5)
    return module.eval()


class BatchNormCNN(nn.Module):
    """Convolutions with BatchNorm, with and without bias and stride, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.block = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.SiLU(),
            nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6, eps=0.1),
        )  # fmt: skip
        self.down = nn.Conv2d(6, 8, 3, stride=2)
        self.last = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        x = torch.tanh(self.down(x + self.block(x)))
        return self.last(x.mean((2, 3)))


def surrogate_of(module: nn.Module, **options) -> Surrogate:
    return naive(Victim("model", module, **options))


def seen_by(surrogate: Surrogate, x: torch.Tensor = X) -> Evaluation:
    x = x.to(surrogate.model.compute_dtype)
    return surrogate.evaluate(x, Y, choose_objective("cross-entropy", 4), gradient=True)
