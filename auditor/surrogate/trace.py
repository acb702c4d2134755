"""Which operations cost a model its gradient, and where in the user's code they are.

A site counts if it lies on a path from the input to the logits, cuts included: what is detached
still depends on the input. It is *essential* if the gradient is zero, cut or false because of it.
That is tried: starting from the gradient with every site repaired, repairs are taken back one by
one, from the logits towards the input, as long as the gradient stays what it was. The sites whose
repair could not be taken back are the essential ones. Where the model's own gradient is as good as
the repaired one there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from auditor.subject.victim import Victim
from auditor.surrogate.sites import Effect, Site
from auditor.surrogate.surrogate import persisting

if TYPE_CHECKING:
    from auditor.surrogate.observer import Observer

__all__ = ["Effect", "Site", "Trace", "trace"]

#: Two gradients of an image are alike if their cosine is at least this, ...
_COSINE = 0.7
#: ... and neither is shorter than the other by more than this factor (attacks take the direction).
_LENGTHS = 1e6
#: How many sites are examined one by one.
_EXAMINED = 32


@dataclass(frozen=True)
class Trace:
    """What one pass of a model showed."""

    #: In the order in which the input meets them.
    sites: tuple[Site, ...]
    #: Autograd's own graph leads from the logits to the input.
    reaches_input: bool
    draws_random: bool
    #: The model calls autograd itself (a purifier).
    differentiates: bool
    #: Values that depend on the input go through NumPy, PIL or Python.
    leaves_torch: bool
    #: Scripted modules and functions, which cannot be seen through.
    opaque: tuple[str, ...]
    #: Modules that behave as in training: BatchNorm, dropout.
    training_modules: tuple[str, ...]
    #: The repaired gradient is another than autograd's.
    repaired_matters: bool

    @property
    def culprit(self) -> Site | None:
        """The first essential site on the way from the input."""
        return next((site for site in self.sites if site.essential), None)


def trace(victim: Victim, x: torch.Tensor) -> Trace:
    """Follow images `x` (B, C, H, W) through the model; a few are enough.

    Costs a forward and a backward pass, and one more of each per site found. The model's random
    numbers are the same in each.
    """
    before = victim._stream, victim._calls
    try:
        return _traced(victim, x.detach().to(victim.compute_dtype))
    finally:
        victim._stream, victim._calls = before


def _traced(victim: Victim, x: torch.Tensor) -> Trace:
    observer = _observer()
    own, hooks = _own(victim, x)
    full, feeding = _repaired(victim, x, observer)
    sites = [site for site in observer.known if site in feeding]
    matters = full is not None and not _alike(full, own)
    if hooks and not matters:  # a hook may do its work at some calls only
        matters = full is not None and not _alike(full, _own(victim, x)[0])
    essential: set[Site] = set()
    if full is not None and matters:
        essential = _essential(victim, x, full, sites[:_EXAMINED], frozenset(observer.bridges))
        essential = essential or hooks
    sites += [site for site in observer.random if observer.draws_random and site not in feeding]
    sites += hooks
    return Trace(
        sites=tuple(_shown(site, site in essential) for site in sites),
        reaches_input=own is not None,
        draws_random=observer.draws_random,
        differentiates=observer.differentiates,
        leaves_torch=observer.leaves_torch,
        opaque=tuple(observer.opaque),
        training_modules=tuple(observer.training),
        repaired_matters=matters,
    )


def _shown(site: Site, essential: bool) -> Site:
    hides = site.effect == "cuts" and not essential
    return replace(site, essential=essential, effect="hides" if hides else site.effect)


def _essential(
    victim: Victim, x: torch.Tensor, full: torch.Tensor, sites: list[Site], bridges: frozenset[Site]
) -> set[Site]:
    """The sites whose repair cannot be taken back without another gradient."""
    needless: frozenset[Site] = frozenset()
    for site in reversed(sites):
        without = needless | {site}
        gradient, _ = _repaired(victim, x, _observer(without, bridges))
        if _alike(full, gradient):
            needless = without
    return set(sites) - needless


def _observer(forbidden: Iterable[Site] = (), bridges: frozenset[Site] | None = None) -> Observer:
    from auditor.surrogate.observer import Observer  # torch is needed to import it

    return Observer(frozenset(forbidden), bridges)


def _own(victim: Victim, x: torch.Tensor) -> tuple[torch.Tensor | None, set[Site]]:
    """The gradient as autograd gives it, and the hooks that may change it."""
    from auditor.surrogate.observer import HookWatch

    def work() -> tuple[torch.Tensor | None, set[Site]]:
        victim.begin("trace")
        point = x.clone().requires_grad_(True)
        with torch.enable_grad():
            with HookWatch(victim.module) as watch:
                z = victim.logits(point)
            return _gradient(victim, z, point), watch.sites

    return persisting(victim, work)


def _repaired(
    victim: Victim, x: torch.Tensor, observer: Observer
) -> tuple[torch.Tensor | None, frozenset[Site]]:
    """The repaired gradient, and the sites that feed the logits."""
    from auditor.surrogate.repair.repair import overwriting, recording
    from auditor.surrogate.repair.tape import Tape

    def work(cautious: bool) -> tuple[torch.Tensor | None, frozenset[Site]]:
        point, tape = x.clone().requires_grad_(True), Tape(observer, cautious=cautious)
        with recording(tape, victim.module):
            raw = victim.raw(tape.entrance(point))
        link = tape.link(raw) if isinstance(raw, torch.Tensor) else None
        if link is None or link.soft is None:
            return None, frozenset() if link is None else link.sites
        with torch.enable_grad():
            z = victim.logits_of(link.soft)
            return _gradient(victim, z, point), link.sites

    victim.begin("trace")
    return persisting(victim, lambda: overwriting(victim, work))


def _gradient(victim: Victim, z: torch.Tensor, point: torch.Tensor) -> torch.Tensor | None:
    """Of the largest logit's lead over the mean of the others; None without a graph."""
    if not z.requires_grad:
        return None
    z = z.double()
    lead = (z.amax(1) * z.shape[1] - z.sum(1)).sum()
    return victim.differentiation.derivative(lead, point)


def _alike(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    """Whether two gradients say the same of at least half of the images."""
    if first is None or second is None:
        return first is second
    a, b = first.double().flatten(1), second.double().flatten(1)
    finite = a.isfinite().all(1) & b.isfinite().all(1)
    a, b = a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0)
    lengths = torch.stack([a.norm(dim=1), b.norm(dim=1)])
    short, long = lengths.amin(0), lengths.amax(0)
    cosine = (a * b).sum(1) / (short * long).clamp(min=torch.finfo(a.dtype).tiny)
    same = (cosine > _COSINE) & (long < _LENGTHS * short)
    alike = finite & (same | (long == 0))
    return bool(alike.double().mean() >= 0.5)
