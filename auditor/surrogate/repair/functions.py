"""Custom autograd functions: their forward is what counts, their backward may say anything.

A `torch.autograd.Function` hands torch a gradient of its author's choice. During a pass its
`forward` is differentiated instead, operation by operation, as if it stood in the model. Where
that leads nowhere, the gradient passes straight to the argument of the same shape.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd import Function

from auditor.surrogate.repair.links import Link, attach, link_of, mapped, tensors
from auditor.surrogate.repair.twins import Twins

#: torch's own functions are honest, and ours are the repair.
_TRUSTED = ("torch.", "auditor.")


@contextlib.contextmanager
def differentiated(tape: Twins) -> Iterator[None]:
    """The forward of every custom function reports to the tape meanwhile."""
    kinds = [(kind, kind.forward) for kind in _custom(Function)]
    own = {kind: kind.__dict__["forward"] for kind, _ in kinds if "forward" in kind.__dict__}
    try:
        for kind, forward in kinds:
            _put(kind, staticmethod(_reporting(tape, kind, forward)))
        yield
    finally:
        for kind, _ in kinds:
            if kind in own:
                _put(kind, own[kind])
            elif "forward" in kind.__dict__:
                delattr(kind, "forward")


def _put(kind: type[Function], forward: Any) -> None:
    setattr(kind, "forward", forward)  # noqa: B010


def _custom(parent: type[Function]) -> Iterator[type[Function]]:
    for kind in parent.__subclasses__():
        if not kind.__module__.startswith(_TRUSTED):
            yield kind
            yield from _custom(kind)


def _reporting(
    tape: Twins, kind: type[Function], forward: Callable[..., Any]
) -> Callable[..., Any]:
    def reporting(*args: Any, **kwargs: Any) -> Any:
        links = [link for t in tensors(args) if (link := tape.link(t)) is not None]
        if not any(link.live for link in links) or tape.paused:
            return forward(*args, **kwargs)
        sites = frozenset().union(*(link.sites for link in links))
        note = (
            None
            if tape.observer is None
            else tape.observer.note(f"{kind.__name__}.apply", "replaces")
        )
        state = None if note is None or note[1] else torch.get_rng_state()
        out = forward(*args, **kwargs)
        if note is not None:
            sites |= {note[0]}
            if state is not None:
                return _as_declared(tape, kind, args, out, state, sites)
        return mapped(lambda one: _attached(tape, args, one, sites), out)

    return reporting


def _attached(
    tape: Twins, args: tuple[Any, ...], out: torch.Tensor, sites: frozenset[Any]
) -> torch.Tensor:
    """An output with a twin: its own, or else the argument of its shape."""
    link = link_of(out, tape)
    if any(out is value for value in args):
        # autograd returns an alias of an argument that is returned as it is
        alias = out.detach()
        return attach(alias, Link(tape, tape.soft(out), sites=sites)) if link else out
    if link is not None and link.live:
        link.sites |= sites
        return out
    for value in tensors(args):
        if tape.live(value) and value.shape == out.shape and out.is_floating_point():
            return tape.carried(out, value, sites)
    return out


def _as_declared(
    tape: Twins,
    kind: type[Function],
    args: tuple[Any, ...],
    out: Any,
    state: torch.Tensor,
    sites: frozenset[Any],
) -> Any:
    """The outputs, whose twins have the gradient that the function's author declares."""
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    inputs = args if _has_setup(kind) else args[1:]
    with tape.pause():
        declared = kind.apply(*mapped(tape.soft, inputs))
    torch.set_rng_state(after)
    softs = iter(list(tensors(declared)))

    def one(hard: torch.Tensor) -> torch.Tensor:
        soft = next(softs)
        value = hard.detach()
        return attach(value, Link(tape, soft if soft.is_floating_point() else None, sites=sites))

    return mapped(one, out)


def _has_setup(kind: type[Function]) -> bool:
    return kind.setup_context is not Function.setup_context
