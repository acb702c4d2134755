"""Random numbers that are a function of (seed, purpose, image, restart, step), and of nothing else.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). Because a number depends on its keys and never on what was drawn before, neither batch
size, order, sharding, device nor resuming changes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

Words = tuple[int, int]


def philox(
    counter: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], key: Words
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Philox4x32-10: four int64 tensors of 32-bit words in, four of their common shape out."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The 64-bit product wraps in int64, but its bits are right; the mask undoes the sign.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (p1 >> 32 & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            (p0 >> 32 & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def derive_key(seed: int, *names: str) -> Words:
    """Two 32-bit words that depend on every argument."""
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


@contextlib.contextmanager
def generators_seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of torch, NumPy and Python start at `seed`, and are put back."""
    devices = [device] if device.type == "cuda" else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices):
        _seed_torch(seed, device)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def generator_states() -> dict[str, object]:
    """The states of the global generators, by who they belong to; for comparing them."""
    _, words, *rest = np.random.get_state()
    states: dict[str, object] = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(words).tobytes(), *rest),
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        states["CUDA"] = [one.numpy().tobytes() for one in torch.cuda.get_rng_state_all()]
    return states


def _seed_torch(seed: int, device: torch.device) -> None:
    """As torch.manual_seed does for the processor and `device`.

    Without a CUDA device that function keeps, at every call, a note with the whole stack.
    """
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@dataclass(frozen=True)
class Noise:
    """Random numbers for a batch of images, one independent stream each.

    Args:
        seed: the audit's seed.
        purpose: what the numbers are for; different purposes give independent numbers.
        image: (B,) int64 keys of the images, not negative; an audit's follow from their content.
        restart: (B,) int64.
        step: (B,) int64.
        dtype: of the numbers returned. Each has 24 random bits, so that it is the same number in
            float32 and in float64.
    """

    seed: int
    purpose: tuple[str, ...]
    image: torch.Tensor
    restart: torch.Tensor
    step: torch.Tensor
    dtype: torch.dtype

    def named(self, name: str) -> Noise:
        """The same streams for a further, independent purpose."""
        return replace(self, purpose=(*self.purpose, name))

    def uniform(self, *shape: int) -> torch.Tensor:
        """(B, *shape) numbers, uniform on [0, 1)."""
        return (self._bits(math.prod(shape)).to(self.dtype) * 2.0**-24).view(-1, *shape)

    def signs(self, *shape: int) -> torch.Tensor:
        """(B, *shape) numbers, -1 or +1 with equal probability."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0).to(self.dtype)

    def exponential(self, *shape: int) -> torch.Tensor:
        """(B, *shape) numbers of the standard exponential distribution."""
        return -torch.log1p(-self.uniform(*shape))

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) standard normal numbers, by the transform of Box and Muller."""
        radius = (2 * self.exponential(*shape)).sqrt()
        return radius * torch.cos(2 * math.pi * self.named("angle").uniform(*shape))

    def _bits(self, count: int) -> torch.Tensor:
        """(B, count) int64 numbers of 24 random bits."""
        block = torch.arange(-(-count // 4), device=self.image.device)[None]
        # Keys of images have 63 bits, and Philox's words 32: the upper half shares the step's word.
        upper, lower = self.image >> 32, self.image & _MASK
        counter = (block, (self.step ^ upper)[:, None], self.restart[:, None], lower[:, None])
        words = torch.stack(philox(counter, derive_key(self.seed, *self.purpose)), dim=2)
        return words.flatten(1)[:, :count] >> 8
