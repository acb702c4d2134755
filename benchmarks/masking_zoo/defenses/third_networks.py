"""The networks of the zoo's third part, as `train_third.py` trains them.

What a defense changes in them, it hands over: gates, attention weights, winners, spikes. Weights
are kept in half precision and used in single.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
Unit = Callable[[Tensor], Tensor]


class Gated(nn.Module):
    """Two convolutions and two linear layers; `unit` makes activations of what all but one say."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8))
        self.second = nn.Sequential(nn.Conv2d(8, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24))
        self.third = nn.Sequential(
            nn.Flatten(), nn.Linear(24 * 49, 64, bias=False), nn.BatchNorm1d(64)
        )
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor, unit: Unit) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        for layer in (self.first, self.second, self.third):
            x = unit(layer(x))
        z: Tensor = self.last(x)
        return z


class Blocks(nn.Module):
    """Linear units that compete in twos; `compete` maps (B, blocks, 2, ...) to the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([
            nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8)),
            nn.Sequential(nn.Conv2d(8, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24)),
            nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1, bias=False), nn.BatchNorm2d(24)),
            nn.Sequential(nn.Flatten(), nn.Linear(24 * 49, 64, bias=False), nn.BatchNorm1d(64)),
        ])  # fmt: skip
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor, compete: Unit) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        for layer in self.layers:
            x = layer(x)
            x = compete(x.unflatten(1, (-1, 2))).flatten(1, 2)
        z: Tensor = self.last(x)
        return z


class Memory(nn.Module):
    """Patches attend to learned keys, and only the attended values go on.

    `weigh` maps scaled similarities (B, heads, patches, keys) to weights of the same shape.
    """

    def __init__(self, heads: int = 4, keys: int = 24, values: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Conv2d(1, heads * 12, 6, 4, 1)
        self.key = nn.Parameter(0.5 * torch.randn(heads, keys, 12))
        self.value = nn.Parameter(torch.randn(heads, keys, values))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(heads * 49 * values, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def similarity(self, x: Tensor) -> Tensor:
        """(B, heads, 49, keys), of unit vectors' products."""
        query = self.query(x).unflatten(1, (self.heads, 12)).flatten(3).transpose(2, 3)
        return F.normalize(query, dim=3) @ F.normalize(self.key, dim=2).transpose(1, 2)

    def forward(self, x: Tensor, weigh: Unit) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        z: Tensor = self.head(weigh(self.similarity(x)) @ self.value)
        return z


class Deep(nn.Module):
    """Five hidden layers; `winners` makes activations (any shape) of what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([
            nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2, bias=False), nn.BatchNorm2d(16)),
            nn.Sequential(nn.Conv2d(16, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48)),
            nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, bias=False), nn.BatchNorm2d(48)),
            nn.Sequential(nn.Conv2d(48, 64, 3, 2, 1, bias=False), nn.BatchNorm2d(64)),
            nn.Sequential(nn.Flatten(), nn.Linear(1024, 64, bias=False), nn.BatchNorm1d(64)),
        ])  # fmt: skip
        self.last = nn.Linear(64, 10)

    def forward(self, x: Tensor, winners: Unit) -> Tensor:
        """Logits (B, 10) of images (B, 1, 28, 28)."""
        for layer in self.layers:
            x = winners(layer(x))
        z: Tensor = self.last(x)
        return z


def small() -> nn.Module:
    """Build a strided CNN, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 49, 40), nn.ReLU(), nn.Linear(40, 10),
    )  # fmt: skip


def large_patches() -> nn.Module:
    """Build a CNN with one coarse convolution, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 8, 4, 2), nn.GELU(), nn.Conv2d(24, 24, 3, 1, 1), nn.GELU(),
        nn.Flatten(), nn.Linear(24 * 49, 10),
    )  # fmt: skip


def no_patches() -> nn.Module:
    """Build a perceptron, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 40), nn.Tanh(), nn.Linear(40, 10))


def pooled() -> nn.Module:
    """Build a CNN with max-pooling, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 1, 1), nn.MaxPool2d(4), nn.LeakyReLU(0.1),
        nn.Conv2d(12, 24, 3, 1, 1), nn.SiLU(), nn.Flatten(), nn.Linear(24 * 49, 10),
    )  # fmt: skip


class Members(nn.ModuleList):
    """Four networks of different architectures."""

    def __init__(self) -> None:
        super().__init__([small(), large_patches(), no_patches(), pooled()])

    def forward(self, x: Tensor) -> Tensor:
        """All their logits, (4, B, 10)."""
        return torch.stack([net(x) for net in self])


class Coded(nn.Module):
    """Says 31 bits of a code word: one output per bit, positive or negative."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 49, 48), nn.ReLU(), nn.Linear(48, 31),
        )  # fmt: skip
        words = torch.ones(1, 1)
        for _ in range(5):  # Sylvester's construction of Hadamard matrices
            words = torch.cat([torch.cat([words, words], 1), torch.cat([words, -words], 1)])
        self.register_buffer("words", words[1:11, 1:].contiguous())  # (10, 31)

    def forward(self, x: Tensor) -> Tensor:
        """The bits, (B, 31), real numbers."""
        z: Tensor = self.net(x)
        return z


class Spiking(nn.Module):
    """Integrate-and-fire neurons in two hidden layers; an output that integrates.

    `fire` makes spikes (0 or 1) of potentials less threshold; frames are images of spikes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(784, 120), nn.Linear(120, 60)
        self.last = nn.Linear(60, 10)

    def forward(self, frames: list[Tensor], fire: Unit) -> Tensor:
        """Logits (B, 10) of frames (B, 1, 28, 28), one after another."""
        z: Tensor = frames[0].new_zeros(())
        potentials = [frames[0].new_zeros(()), frames[0].new_zeros(())]
        for frame in frames:
            spikes = frame.flatten(1)
            for number, layer in enumerate((self.first, self.second)):
                level = potentials[number] + layer(spikes)
                spikes = fire(level - 1)
                potentials[number] = level - spikes
            z = z + self.last(spikes)
        return z / len(frames) * 4


class Coder(nn.Module):
    """An autoencoder: `squash` makes the code of what the encoder says."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ELU(), nn.Conv2d(16, 8, 3, 1, 1), nn.BatchNorm2d(8)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(8, 24, 3, 1, 1), nn.ELU(), nn.Conv2d(24, 4, 3, 1, 1), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor, squash: Unit) -> Tensor:
        """Images (B, 1, 28, 28) of images."""
        y: Tensor = self.decoder(squash(self.encoder(x)))
        return torch.sigmoid(y)


class References(nn.Module):
    """Random features, never trained, and labelled examples in their principal directions."""

    def __init__(self, examples: int = 1000, filters: int = 48, directions: int = 48) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, filters, 7, 2, 2)
        self.register_buffer("mean", torch.zeros(filters * 16))
        self.register_buffer("directions", torch.zeros(filters * 16, directions))
        self.register_buffer("examples", torch.zeros(examples, directions))
        self.register_buffer("labels", torch.zeros(examples, dtype=torch.uint8))

    def features(self, x: Tensor) -> Tensor:
        """(B, filters * 16), before the directions are taken."""
        return F.adaptive_avg_pool2d(F.relu(self.filters(x)), 4).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Squared distances to all examples, (B, examples)."""
        points = (self.features(x) - self.mean) @ self.directions
        square = points.square().sum(1, keepdim=True) + self.examples.square().sum(1)
        return (square - 2 * points @ self.examples.T).clamp(min=0)


#: By the names of their weights.
BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "gates": Gated,
    "gates-pgd": Gated,
    "blocks-pgd": Blocks,
    "memory": Memory,
    "memory-pgd": Memory,
    "deep-pgd": Deep,
    "members-pgd": Members,
    "coded": Coded,
    "spiking": Spiking,
    "coder": Coder,
    "references": References,
    "small-l2": small,
}


def trained(name: str) -> nn.Module:
    """The network `name` with its weights, in evaluation mode."""
    net = BUILDERS[name]()
    state = load_file(WEIGHTS / f"third-{name}.safetensors")
    net.load_state_dict({
        key: value.float() if value.dtype == torch.float16 else value
        for key, value in state.items()
    })  # fmt: skip
    return net.eval().requires_grad_(False)
