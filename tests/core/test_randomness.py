"""Random numbers: published vectors, distributions, independence of everything but the keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from auditor.maths.randomness import Noise, derive_key, philox


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_vectors_of_random123(counter, key, expected):
    c = tuple(torch.tensor([word], dtype=torch.int64) for word in words(counter))
    k0, k1 = words(key)
    assert [int(word) for word in philox(c, (k0, k1))] == words(expected)


def philox_in_plain_integers(c: list[int], k: list[int]) -> list[int]:
    """Salmon et al. 2011, section 4.3, in Python's unbounded integers."""
    c, k = list(c), list(k)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def test_philox_agrees_with_unbounded_integers_on_random_words():
    rng = np.random.default_rng(0)
    counters = rng.integers(0, 2**32, (200, 4), dtype=np.int64)
    k0, k1 = (int(word) for word in rng.integers(0, 2**32, 2))
    got = torch.stack(philox(tuple(torch.from_numpy(counters).unbind(1)), (k0, k1)), 1)
    expected = [philox_in_plain_integers(row, [k0, k1]) for row in counters.tolist()]
    assert got.tolist() == expected


def noise(
    image=(0, 1, 2), restart=None, step=None, seed=0, purpose=("start",), dtype=torch.float64
) -> Noise:
    image = torch.as_tensor(image)
    zeros = torch.zeros_like(image)
    return Noise(
        seed,
        purpose,
        image,
        zeros if restart is None else torch.as_tensor(restart),
        zeros if step is None else torch.as_tensor(step),
        dtype,
    )


DRAWS = ("uniform", "signs", "exponential", "normal")


def test_both_halves_of_a_key_count():
    keys = torch.tensor([5, 5 + (1 << 32), 5 + (1 << 62)])
    first, second, third = noise(keys).uniform(8)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(first, noise((5,)).uniform(8)[0])


@pytest.mark.parametrize("draw", DRAWS)
def test_numbers_depend_on_the_image_and_not_on_its_batch(draw):
    image = torch.tensor([7, 123456789, 0, 3, 2**31])
    together = getattr(noise(image), draw)(2, 3, 5)
    order = torch.tensor([3, 0, 4, 2, 1])
    assert torch.equal(getattr(noise(image[order]), draw)(2, 3, 5), together[order])
    for row in range(len(image)):
        assert torch.equal(getattr(noise(image[row : row + 1]), draw)(2, 3, 5)[0], together[row])


@pytest.mark.parametrize("draw", ["uniform", "signs"])
def test_float32_and_float64_hold_the_same_numbers(draw):
    wide = getattr(noise(dtype=torch.float64), draw)(1000)
    narrow = getattr(noise(dtype=torch.float32), draw)(1000)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow.double(), wide)


@pytest.mark.parametrize("draw", ["exponential", "normal"])
def test_transformed_numbers_agree_up_to_the_rounding_of_float32(draw):
    wide = getattr(noise(dtype=torch.float64), draw)(5000)
    narrow = getattr(noise(dtype=torch.float32), draw)(5000).double()
    torch.testing.assert_close(narrow, wide, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("draw", DRAWS)
def test_drawing_twice_gives_the_same_numbers(draw):
    one = noise()
    assert torch.equal(getattr(one, draw)(9), getattr(one, draw)(9))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]))


@pytest.mark.parametrize(
    "other",
    [
        {"image": [1]},
        {"restart": [1]},
        {"step": [1]},
        {"seed": 1},
        {"purpose": ("other",)},
        {"purpose": ("start", "further")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_key_gives_a_stream_of_its_own(other):
    count = 20_000
    base = noise(image=[0]).uniform(count)
    changed = noise(**{"image": [0], **other}).uniform(count)
    # 24-bit numbers agree by chance in count / 2^24 places; a shared stream agrees in all.
    assert int((base == changed).sum()) < 5
    assert correlation(base, changed) < 5 / math.sqrt(count)


def test_image_restart_and_step_are_not_interchangeable():
    streams = [
        noise(image=[1], restart=[0], step=[0]),
        noise(image=[0], restart=[1], step=[0]),
        noise(image=[0], restart=[0], step=[1]),
    ]
    first, second, third = (stream.uniform(64) for stream in streams)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not torch.equal(first, third)


def test_named_noise_is_the_noise_of_that_further_purpose():
    assert torch.equal(
        noise(purpose=("a",)).named("b").uniform(8), noise(purpose=("a", "b")).uniform(8)
    )


def test_numbers_within_one_stream_do_not_repeat_or_correlate():
    u = noise(image=[5]).uniform(40_000)[0]
    for lag in (1, 2, 3, 4, 5):
        assert correlation(u[:-lag], u[lag:]) < 5 / math.sqrt(len(u))
    # A birthday problem: about n^2 / 2^25 = 48 pairs coincide among 24-bit numbers.
    assert 10 < len(u) - len(u.unique()) < 120


def test_streams_of_neighbouring_images_are_uncorrelated():
    u = noise(image=torch.arange(2000)).uniform(8)
    assert correlation(u[:-1], u[1:]) < 5 / math.sqrt(u[1:].numel())


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [("uniform", stats.uniform), ("exponential", stats.expon), ("normal", stats.norm)],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distributions_pass_a_kolmogorov_smirnov_test(draw, distribution, seed):
    sample = getattr(noise(image=torch.arange(50), seed=seed), draw)(400).flatten().numpy()
    assert stats.kstest(sample, distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_are_finite_and_in_range(dtype):
    many = noise(image=torch.arange(100), dtype=dtype)
    u, e, z = many.uniform(2000), many.exponential(2000), many.normal(2000)
    assert u.min() >= 0
    assert u.max() < 1
    assert e.min() >= 0
    assert e.isfinite().all()
    assert z.isfinite().all()


def test_the_largest_number_still_gives_a_finite_exponential():
    class Largest(Noise):
        def _bits(self, count):
            return torch.full((len(self.image), count), 2**24 - 1)

    base = noise(dtype=torch.float32)
    top = Largest(*(getattr(base, name) for name in base.__dataclass_fields__))
    expected = 24 * math.log(2)  # -log(2^-24)
    torch.testing.assert_close(top.exponential(3), torch.full((3, 3), expected), rtol=1e-6, atol=0)


def test_signs_are_balanced():
    signs = noise(image=torch.arange(10)).signs(1000)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    plus = int((signs > 0).sum())
    assert stats.binomtest(plus, signs.numel()).pvalue > 1e-3


def test_normal_radius_and_angle_are_independent():
    z = noise(image=torch.arange(20)).normal(1000)
    assert correlation(z[:, :-1], z[:, 1:]) < 5 / math.sqrt(z.numel())
    assert correlation(z[:, :-1].abs(), z[:, 1:].abs()) < 5 / math.sqrt(z.numel())


def test_shape_is_batch_then_the_shape_asked_for():
    assert noise().uniform(2, 5, 7).shape == (3, 2, 5, 7)
    assert noise().normal(1).shape == (3, 1)


def test_keys_depend_on_every_part_and_on_where_it_ends():
    keys = {
        derive_key(0, "a", "b"),
        derive_key(1, "a", "b"),
        derive_key(0, "ab"),
        derive_key(0, "b", "a"),
        derive_key(0, "a"),
        derive_key(0, "a", "b", ""),
    }
    assert len(keys) == 6
    assert all(0 <= word < 2**32 for key in keys for word in key)
