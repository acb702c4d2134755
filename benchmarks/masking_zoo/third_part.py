"""The table of the zoo's third part, which is measured once, before anybody has looked at it.

Its entries were written, and their truth established, without auditing one of them; they are in
neither half. Whoever develops the checks or their thresholds reads neither this file nor
`defenses/third_*.py`, and runs no audit of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zoo import ENTRIES, Entry


def _third() -> Iterator[Entry]:
    fashion: dict[str, Any] = {"dataset": "fashion-mnist"}
    mnist: dict[str, Any] = {"dataset": "mnist"}
    drawn: dict[str, Any] = {"kind": "stochastic", "random": True, "draws": 8}

    def random(name: str, cls: str, backbone: str, **more: Any) -> Entry:
        return Entry(name, f"third_random:{cls}", backbone=backbone, **{**drawn, **more})

    def flat(name: str, cls: str, backbone: str, kind: str, **more: Any) -> Entry:
        return Entry(name, f"third_flat:{cls}", backbone=backbone, kind=kind, **more)

    def honest(name: str, cls: str, backbone: str, **more: Any) -> Entry:
        return Entry(f"honest-{name}", f"third_honest:{cls}", backbone=backbone, **more)

    yield random("gumbel-gates", "GumbelGates", "gates", **mnist,
                 adaptive="expected_then_sampled_gates")  # fmt: skip
    yield random("bernoulli-gates", "BernoulliGates", "gates-pgd", **fashion, operation=True,
                 adaptive="expected_then_sampled_gates")  # fmt: skip
    yield random("stochastic-winners", "StochasticWinners", "blocks-pgd", **fashion,
                 adaptive="expected_then_sampled_blocks")  # fmt: skip
    yield random("spiking-neurons", "SpikingNeurons", "spiking", **mnist,
                 adaptive="grey_then_sampled_spikes")  # fmt: skip
    yield random("drawn-vote", "DrawnVote", "members-pgd", **fashion, kind="output-level",
                 operation=True, adaptive="mean_of_members", draws=1)  # fmt: skip

    yield flat("saturated-attention", "SaturatedAttention", "memory", "vanishing", **fashion,
               adaptive="level_attention")  # fmt: skip
    yield flat("half-attention", "HalfAttention", "memory", "vanishing", **fashion, operation=True,
               adaptive="full_attention")  # fmt: skip
    yield flat("deep-winners", "DeepWinners", "deep-pgd", "shattered", **fashion,
               adaptive="smoothed_then_more_winners", draws=4)  # fmt: skip
    yield flat("saturated-code", "SaturatedCode", "coded", "output-level", **mnist,
               adaptive="linear_code")  # fmt: skip
    yield flat("transform-vote", "TransformVote", "members-pgd", "output-level", **fashion,
               operation=True, adaptive="mean_of_views")  # fmt: skip
    yield flat("neighbour-votes", "NeighbourVotes", "references", "output-level", **mnist,
               operation=True, adaptive="smooth_neighbours")  # fmt: skip
    yield flat("compressed-code", "CompressedCode", "pgd-trained", "shattered", **fashion,
               operation=True, adaptive="sloping_bits_then_straight")  # fmt: skip
    yield flat("fourier-round", "FourierRound", "pgd-trained", "shattered", **fashion,
               operation=True, adaptive="straight")  # fmt: skip

    yield honest("expected-gates", "ExpectedGates", "gates-pgd", **fashion)
    yield honest("level-attention", "LevelAttention", "memory-pgd", **fashion)
    yield honest("linear-code", "LinearCode", "coded", **mnist)
    yield honest("smooth-neighbours", "SmoothNeighbours", "references", **mnist)
    yield honest("drawn-mean", "DrawnMean", "members-pgd", **fashion, random=True, draws=4,
                 adaptive="mean_of_members")  # fmt: skip
    yield honest("l2-trained", "Trained", "small-l2", **fashion)
    yield honest("linf-trained-l2", "Example", "pgd-trained", **fashion, norm="l2")


THIRD: tuple[Entry, ...] = tuple(_third())
#: Both halves and the third part.
EVERY: tuple[Entry, ...] = ENTRIES + THIRD
