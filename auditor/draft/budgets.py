"""Which perturbations the literature is accustomed to, by the kind of the images.

A convention makes numbers comparable; it says nothing about what an attacker can do somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Height or width from which images are not called small.
_LARGE = 128
#: Images with fewer pixels between black and white are nearly two-valued, as written digits are.
_TWO_VALUED = 0.25


@dataclass(frozen=True)
class Budget:
    """What is customary for one kind of images.

    Attributes:
        kind: the images, in words.
        linf: epsilons as they are written in audit.toml, the last one the customary.
        source: whose custom it is.
        l2: an epsilon for a second threat.
    """

    kind: str
    linf: tuple[str | float, ...]
    source: str
    l2: float


_DIGITS = Budget(
    "small, nearly black and white images",
    (0.1, 0.3),
    "0.3 is customary on MNIST (Madry et al. 2018, arXiv:1706.06083)",
    2.0,
)
_SMALL_GREY = Budget(
    "small grey images",
    ("8/255", 0.1),
    "0.1 is customary on Fashion-MNIST (Wong and Kolter 2018, arXiv:1711.00851)",
    1.5,
)
_SMALL_COLOUR = Budget(
    "small colour images",
    ("4/255", "8/255"),
    "8/255 is customary on CIFAR-10 (Madry et al. 2018, arXiv:1706.06083; RobustBench, "
    "arXiv:2010.09670)",
    0.5,
)
_LARGE_COLOUR = Budget(
    "large colour images",
    ("2/255", "4/255"),
    "4/255 is customary on ImageNet (RobustBench, arXiv:2010.09670)",
    3.0,
)
_LARGE_GREY = Budget(
    "large grey images",
    ("2/255", "4/255"),
    "4/255 is customary on ImageNet, which is in colour (RobustBench, arXiv:2010.09670); for large "
    "grey images there is no custom",
    3.0,
)


def customary(shape: tuple[int, int, int], between: float) -> Budget:
    """The budget for images of `shape` (channels, height, width).

    Args:
        between: the share of pixels that are neither nearly black nor nearly white.
    """
    channels, height, width = shape
    large = max(height, width) >= _LARGE
    if channels > 1:
        return _LARGE_COLOUR if large else _SMALL_COLOUR
    if large:
        return _LARGE_GREY
    return _DIGITS if between < _TWO_VALUED else _SMALL_GREY
