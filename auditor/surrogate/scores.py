"""What a loss is computed on: the model's answer as scores, on a scale where nothing underflows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.subject.outputs import Outputs

#: The distance between the largest and the smallest rescaled score.
_REACH = 6.0


@dataclass(frozen=True)
class Pass:
    """What a pass saw."""

    #: What the module returned, as the victim returns it; no graph.
    raw: torch.Tensor
    #: The same values with a graph to the input.
    soft: torch.Tensor
    #: Where the module ends in a head that hides its scores: what went into it, with a graph.
    scores: torch.Tensor | None


def exact_scores(raw: torch.Tensor, outputs: Outputs) -> torch.Tensor:
    """`Victim.logits_of` in float64; a probability of 0 keeps a slope."""
    z = raw.double()
    if outputs == "probabilities":
        # At 0 the logarithm's slope is infinite; that of p + tiny is large and finite.
        return (z + torch.finfo(torch.float32).tiny).log()
    return z


def rescaled(z: torch.Tensor) -> torch.Tensor:
    """6 z / (max z - min z) for each image (B, K), the scale being a constant.

    Cross-entropy of such scores neither underflows nor rounds to zero, and its gradient keeps its
    direction among the classes.
    """
    scale = (z.amax(1, keepdim=True) - z.amin(1, keepdim=True)).detach()
    return z * _REACH / torch.where(scale > 0, scale, 1)


def deciding(scores: torch.Tensor, z: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """`scores` (B, K), and for images whose answer they do not decide, `own`.

    They decide an answer with logits `z` (B, K) whose classes are in their order; those that `z`
    does not tell apart may be in any.
    """
    if scores.shape != z.shape:
        return own
    ascending = z.gather(1, scores.detach().argsort(1)).diff(dim=1) >= 0
    return torch.where(ascending.all(1, keepdim=True), scores, own)
