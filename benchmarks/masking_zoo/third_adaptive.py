"""Stand-ins for the hand-made adaptive attacks on the zoo's third part; see `adaptive.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent / "defenses"))

from third_units import (
    code,
    compete_softly,
    fire,
    gate,
    grey_frames,
    winners,
    with_value,
)

Answer = Callable[[Any, Tensor], Tensor]


def _expected_gates(model: Any, x: Tensor) -> Tensor:
    """Every gate's chance in the place of the gate."""
    return model.net(x, torch.sigmoid)  # type: ignore[no-any-return]


def _sampled_gates(model: Any, x: Tensor) -> Tensor:
    """Gates that are drawn, with the slope of gates at the temperature of the training."""

    def unit(a: Tensor) -> Tensor:
        soft = gate(a, 0.5)
        return with_value(soft, (soft > 0.5).to(a.dtype))

    return model.net(x, unit)  # type: ignore[no-any-return]


def _expected_blocks(model: Any, x: Tensor) -> Tensor:
    """Units times their chances to win."""
    return model.net(x, lambda a: compete_softly(a, 1.0, noisy=False))  # type: ignore[no-any-return]


def _sampled_blocks(model: Any, x: Tensor) -> Tensor:
    """Winners drawn at the temperature of the training."""
    return model.net(x, lambda a: compete_softly(a, 0.67, noisy=True))  # type: ignore[no-any-return]


def _grey_frames(model: Any, x: Tensor) -> Tensor:
    """Frames that are the image itself; spikes with a slope."""
    return model.net(grey_frames(x), fire)  # type: ignore[no-any-return]


def _sampled_spikes(model: Any, x: Tensor) -> Tensor:
    """Frames that are drawn, with the image's slope; spikes with a slope."""
    frames = [with_value(frame, torch.bernoulli(frame)) for frame in grey_frames(x)]
    return model.net(frames, fire)  # type: ignore[no-any-return]


def _mean_of_members(model: Any, x: Tensor) -> Tensor:
    """The members' mean logarithms of probabilities."""
    return torch.log_softmax(model.net(x), 2).mean(0)


def _level_attention(model: Any, x: Tensor) -> Tensor:
    """Weights as they are, with the slope of weights at a higher temperature."""

    def weigh(s: Tensor) -> Tensor:
        return with_value(torch.softmax(20 * s, 3), torch.softmax(model.scale * s, 3))

    return model.net(x, weigh)  # type: ignore[no-any-return]


def _full_attention(model: Any, x: Tensor) -> Tensor:
    """Weights as they are, with the slope of weights at a higher temperature in float32."""
    return model.net(x, lambda s: with_value(torch.softmax(20 * s, 3), model.weigh(s)))  # type: ignore[no-any-return]


def _more_winners(model: Any, x: Tensor) -> Tensor:
    """Winners alone, with the slope of three times as many."""

    def unit(a: Tensor) -> Tensor:
        return with_value(winners(a, 3 * model.share), winners(a, model.share))

    return model.net(x, unit)  # type: ignore[no-any-return]


def _linear_code(model: Any, x: Tensor) -> Tensor:
    """Correlations of bits that do not saturate."""
    return model.net(x) @ model.net.words.T  # type: ignore[no-any-return]


def _mean_of_views(model: Any, x: Tensor) -> Tensor:
    """The mean logarithms of probabilities on all views."""
    return torch.stack([torch.log_softmax(model.net(view), 1) for view in model.views(x)]).mean(0)


def _smooth_neighbours(model: Any, x: Tensor) -> Tensor:
    """Densities of the classes; no wider than to the nearest examples."""
    distances = model.net(x)
    width = distances.topk(model.neighbours, 1, largest=False).values.mean(1, keepdim=True) / 4
    nearness = -distances / width.detach()
    return torch.stack(
        [nearness[:, model.net.labels == label].logsumexp(1) for label in range(10)], 1
    )


def _sloping_bits(model: Any, x: Tensor) -> Tensor:
    """The code as it is, with a sigmoid's slope."""
    return model.net(model.coder(x, code))  # type: ignore[no-any-return]


#: By the names in `third_part.py`.
ANSWERS: dict[str, Answer] = {
    "expected_gates": _expected_gates,
    "sampled_gates": _sampled_gates,
    "expected_blocks": _expected_blocks,
    "sampled_blocks": _sampled_blocks,
    "grey_frames": _grey_frames,
    "sampled_spikes": _sampled_spikes,
    "mean_of_members": _mean_of_members,
    "level_attention": _level_attention,
    "full_attention": _full_attention,
    "more_winners": _more_winners,
    "linear_code": _linear_code,
    "mean_of_views": _mean_of_views,
    "smooth_neighbours": _smooth_neighbours,
    "sloping_bits": _sloping_bits,
}
#: Those whose scores are the defended model's own.
EXACT = {"level_attention", "full_attention", "more_winners", "sloping_bits"}
#: Attacked along one after another.
ALSO = {
    "expected_then_sampled_gates": ("expected_gates", "sampled_gates"),
    "expected_then_sampled_blocks": ("expected_blocks", "sampled_blocks"),
    "grey_then_sampled_spikes": ("grey_frames", "sampled_spikes"),
    "smoothed_then_more_winners": ("smoothed", "more_winners"),
    "sloping_bits_then_straight": ("sloping_bits", "straight"),
}
