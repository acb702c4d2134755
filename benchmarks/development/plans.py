"""The table of development networks: what each is, and on which half of the split.

The split was drawn before any attack but those that find the radii: the five networks on which
settings had been chosen before are of the choosing half; of the 23 others the fourteen whose names
have the smallest sha256 are only ever measured. `pairs-plain` joined the choosing half afterwards,
so that orders of many target classes can be developed on something. Attacks in l2 and l1 are
measured on the five networks of each half with the smallest sha256 of "norms NAME", and whole times
on the four of the measured half with the smallest of "time NAME".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from development.architectures import (
    Binary,
    Ternary,
    colour_net,
    conv_net,
    deep_net,
    maxout_net,
    plain_relu_net,
    pooling_net,
    quantised,
    strided_net,
    wide_net,
)
from development.bounds import IntervalBounds
from development.data import CLASSES
from development.objectives import (
    Adversarial,
    AdversarialPairing,
    CleanPairing,
    ConfidencePenalty,
    CrossEntropy,
    CutMix,
    Free,
    GradientPenalty,
    JacobianPenalty,
    Loss,
    Mixup,
    OneStep,
    Squeezing,
    Trades,
)

Split = Literal["choose", "measure"]
PLAIN = CrossEntropy()
ALL_NORMS = ("linf", "l2", "l1")


@dataclass(frozen=True)
class Plan:
    """How a network is made.

    Attributes:
        images: it learns from the first so many of the training set.
        replays: steps taken on every batch, one after another.
        norms: those it is attacked in.
        regime: what it stands for, in words.
    """

    data: str
    build: Callable[[], nn.Module]
    seed: int
    epochs: int
    images: int
    loss: Loss = PLAIN
    split: Split = "choose"
    weight_decay: float = 5e-4
    replays: int = 1
    norms: tuple[str, ...] = ("linf",)
    regime: str = ""

    @property
    def classes(self) -> int:
        """K."""
        return CLASSES.get(self.data, 10)


_PAIRS = {"shape": (1, 14, 28), "classes": 100, "widths": (24, 48, 128)}
_COLOUR = {"shape": (3, 32, 32), "widths": (32, 64, 100)}
_measured = partial(Plan, split="measure")

#: The choosing half first, then the measured one.
PLANS = {
    "mnist-smoothing-09": Plan(
        "mnist", plain_relu_net, 31, 4, 15_000, CrossEntropy(smoothing=0.9),
        regime="label smoothing 0.9, no normalization"),
    "mnist-one-step": Plan(
        "mnist", plain_relu_net, 32, 5, 15_000, OneStep(0.3),
        regime="one-step adversarial training"),
    "mnist-gradient-penalty": Plan(
        "mnist", partial(conv_net, nn.GELU), 33, 4, 15_000, GradientPenalty(10.0), norms=ALL_NORMS,
        regime="gradient regularization, GELU"),
    "mnist-dead-units": Plan(
        "mnist", plain_relu_net, 34, 5, 15_000, weight_decay=30.0,
        regime="weight decay to the point of dead units"),
    "mnist-clean-pairing": Plan(
        "mnist", plain_relu_net, 35, 5, 15_000, CleanPairing(0.3, 0.3),
        regime="clean logit pairing with noise"),
    "mnist-interval-bounds": Plan(
        "mnist", plain_relu_net, 36, 8, 20_000, IntervalBounds(0.2), norms=ALL_NORMS,
        regime="provably trained by interval bounds"),
    "fashion-binary": Plan(
        "fashion-mnist", lambda: quantised(conv_net(norm=nn.BatchNorm2d), Binary), 37, 4, 15_000,
        regime="binary weights, BatchNorm"),
    "mnist-trades-wide": Plan(
        "mnist", wide_net, 38, 3, 12_000, Trades(0.15, 3),
        regime="TRADES, very wide"),
    "fashion-adversarial-pairing": Plan(
        "fashion-mnist", strided_net, 39, 3, 10_000, AdversarialPairing(0.5, 16 / 255, 3),
        regime="adversarial logit pairing, GroupNorm, GELU"),
    "pairs-plain": Plan(
        "mnist-pairs", partial(conv_net, **_PAIRS), 40, 5, 20_000,
        regime="100 classes"),
    "mnist-adversarial": Plan(
        "mnist", plain_relu_net, 13, 5, 20_000, Adversarial(0.3, 7), norms=ALL_NORMS,
        regime="PGD, no normalization"),
    "fashion-plain": Plan(
        "fashion-mnist", strided_net, 15, 5, 50_000, norms=ALL_NORMS,
        regime="undefended, GroupNorm, GELU"),
    "cifar-plain": Plan(
        "cifar10", colour_net, 14, 4, 50_000,
        regime="undefended, BatchNorm, maxima, colour"),
    "cifar-adversarial": Plan(
        "cifar10", colour_net, 12, 6, 30_000, Adversarial(8 / 255, 2),
        regime="PGD of two steps, BatchNorm, maxima, colour"),
    "fashion-trades": Plan(
        "fashion-mnist", strided_net, 11, 4, 30_000, Trades(16 / 255, 7), norms=ALL_NORMS,
        regime="TRADES, GroupNorm, GELU"),
    "fashion-smoothing-05": _measured(
        "fashion-mnist", partial(conv_net, norm=nn.BatchNorm2d), 51, 4, 15_000,
        CrossEntropy(smoothing=0.5),
        regime="label smoothing 0.5, BatchNorm"),
    "pairs-smoothing-01": _measured(
        "mnist-pairs", partial(conv_net, **_PAIRS), 52, 5, 20_000, CrossEntropy(smoothing=0.1),
        norms=ALL_NORMS, regime="label smoothing 0.1, 100 classes"),
    "mnist-squeezing": _measured(
        "mnist", plain_relu_net, 53, 5, 15_000, Squeezing(0.3, 0.3), norms=ALL_NORMS,
        regime="logit squeezing with noise"),
    "mnist-pgd-ternary": _measured(
        "mnist", lambda: quantised(conv_net(norm=nn.BatchNorm2d), Ternary), 54, 4, 15_000,
        Adversarial(0.2, 4), norms=ALL_NORMS, regime="PGD, ternary weights, BatchNorm"),
    "cifar-free": _measured(
        "cifar10", partial(conv_net, norm=nn.BatchNorm2d, **_COLOUR), 55, 3, 15_000,
        Free(8 / 255), replays=4, regime="free adversarial training, BatchNorm, colour"),
    "cifar-mixup": _measured(
        "cifar10", partial(conv_net, nn.ReLU6, norm=nn.BatchNorm2d, **_COLOUR), 56, 5, 20_000,
        Mixup(), norms=ALL_NORMS, regime="mixup, ReLU6, BatchNorm, colour"),
    "mnist-jacobian-sigmoid": _measured(
        "mnist", partial(conv_net, nn.Sigmoid, norm=nn.BatchNorm2d), 57, 5, 15_000,
        JacobianPenalty(0.03), regime="Jacobian penalty, sigmoid, BatchNorm"),
    "mnist-parity-pgd": _measured(
        "mnist-parity", partial(conv_net, classes=2), 58, 5, 15_000, Adversarial(0.2, 4),
        regime="PGD, 2 classes"),
    "pairs-pgd": _measured(
        "mnist-pairs", partial(conv_net, **_PAIRS), 59, 5, 20_000, Adversarial(0.1, 3),
        norms=ALL_NORMS, regime="PGD, 100 classes"),
    "fashion-confidence-tanh": _measured(
        "fashion-mnist", partial(conv_net, nn.Tanh), 60, 4, 15_000, ConfidencePenalty(0.5),
        regime="confidence penalty, tanh"),
    "fashion-cutmix": _measured(
        "fashion-mnist", pooling_net, 61, 4, 15_000, CutMix(),
        regime="CutMix, max-pooling"),
    "cifar-vehicles": _measured(
        "cifar10-vehicles", partial(conv_net, norm=nn.BatchNorm2d, classes=2, **_COLOUR), 62, 4,
        20_000, regime="undefended, 2 classes, BatchNorm, colour"),
    "fashion-pgd-maxout": _measured(
        "fashion-mnist", maxout_net, 63, 4, 12_000, Adversarial(0.1, 4),
        regime="PGD, maxout"),
    "fashion-deep": _measured(
        "fashion-mnist", deep_net, 64, 3, 12_000,
        regime="undefended, very deep, residual, BatchNorm"),
}  # fmt: skip

#: Networks of the measured half on which times are taken in whole.
TIMED = ("mnist-pgd-ternary", "cifar-free", "cifar-mixup", "mnist-jacobian-sigmoid")


def of_split(split: Split) -> list[str]:
    """The names of one half, in the order of the table."""
    return [name for name, plan in PLANS.items() if plan.split == split]
