"""The twins of a model's tensors during one pass: kept, looked up, and attached.

What rules, heads and writing may ask of the tape; how an operation is carried out is the tape's.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from auditor.surrogate.observer import Observer
from auditor.surrogate.repair.links import Call, Link, attach, graph, link_of, shared, tensors
from auditor.surrogate.repair.soft import straight
from auditor.surrogate.repair.truncation import Departures
from auditor.surrogate.sites import Treatment


class Twins(TorchFunctionMode):
    """Keeps the twins of one pass.

    Args:
        observer: told of every repair, and may forbid some; None to repair all.
        cautious: the model writes over parts of tensors in a way that autograd forbids.
    """

    def __init__(self, observer: Observer | None = None, *, cautious: bool = False) -> None:
        super().__init__()
        self.cautious = cautious
        self.observer = observer
        self.departures = Departures()
        #: Whether operations are left alone for now.
        self.paused = False
        #: Whether the model itself records a graph.
        self.recorded = False
        self._sites: frozenset[Any] = frozenset()

    def link(self, tensor: torch.Tensor) -> Link | None:
        """What is known of the tensor; also where it is a view, or comes back from outside."""
        link = link_of(tensor, self)
        if link is not None:
            return link
        base = tensor._base
        known = None if base is None else link_of(base, self)
        if known is not None:
            return self.of_view(tensor, known)
        if self.departures.pending and not isinstance(tensor, torch.nn.Parameter):
            with graph():
                found = self.departures.returned(tensor)
                if found is not None:
                    soft, scores, sites = found
                    link = Link(self, straight(soft, tensor), scores=scores, sites=sites)
                    attach(tensor, link)
        return link

    def of_view(self, tensor: torch.Tensor, known: Link) -> Link:
        """The link of a view of a tensor whose link is known."""
        soft = known.soft
        if soft is not None and soft.dtype == tensor.dtype and shared(soft, tensor):
            with graph():
                soft = soft.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        elif soft is not None and soft.shape != tensor.shape:
            soft = None
        link = Link(self, soft, known.mask, sites=known.sites)
        attach(tensor, link)
        return link

    def emit(self, soft: torch.Tensor, **marks: Any) -> torch.Tensor:
        """A tensor for the model: the values of a floating-point twin."""
        return attach(soft.detach(), Link(self, soft, sites=self._sites, **marks))

    def mark(self, hard: torch.Tensor, soft: torch.Tensor | None, **marks: Any) -> torch.Tensor:
        """A tensor of the model's own (an integer, a mask), with that twin."""
        return attach(hard, Link(self, soft, sites=self._sites, **marks))

    def result(self, hard: torch.Tensor, soft: torch.Tensor, **marks: Any) -> torch.Tensor:
        """The values of `hard` for the model, the gradient of `soft` for the twin."""
        if hard.is_floating_point():
            return self.emit(straight(soft, hard), **marks)
        return self.mark(hard, straight(soft, hard), **marks)

    def soft(self, value: Any) -> Any:
        """The twin of a tensor; itself where it does not depend on the input."""
        if not isinstance(value, torch.Tensor):
            return value
        link = self.link(value)
        return value if link is None or link.soft is None else link.soft

    def live(self, value: Any) -> bool:
        """Whether it is a tensor with a gradient to the input."""
        link = self.link(value) if isinstance(value, torch.Tensor) else None
        return link is not None and link.live

    @property
    def sites(self) -> frozenset[Any]:
        """Where the arguments of the present operation have come from."""
        return self._sites

    def carried(
        self, hard: torch.Tensor, source: torch.Tensor, sites: frozenset[Any] = frozenset()
    ) -> torch.Tensor:
        """`hard` with the gradient of `source`, a tensor of its shape."""
        with graph():
            soft = straight(self.soft(source), hard)
        link = self.link(source)
        assert link is not None
        return attach(soft.detach(), Link(self, soft, sites=sites | link.sites))

    def adopt(self, soft: torch.Tensor, sites: frozenset[Any]) -> torch.Tensor:
        """A tensor for the model, of a twin that the tape did not see being made."""
        if not soft.requires_grad:
            return soft
        return attach(soft.detach(), Link(self, soft, sites=sites))

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Operations are torch's own meanwhile, and recorded."""
        self.paused = True
        try:
            with graph():
                yield
        finally:
            self.paused = False

    def differentiated(self, call: Call) -> bool:
        """Whether the model itself wants a gradient of this operation (a purifier does)."""
        wanted = any(tensor.requires_grad for tensor in tensors((call.args, call.kwargs)))
        return wanted and self.recorded

    def permits(self, operation: str, effect: Any) -> bool:
        """Whether the operation is to be repaired; it becomes a site of what comes of it."""
        if self.observer is None or effect == "quiet":
            return True
        site, allowed = self.observer.note(operation, effect)
        self._sites |= {site}
        return allowed

    def passed(self, soft: Any) -> Any:
        """The twin, cut where an observer wants to see what no_grad would do."""
        if self.observer is not None and isinstance(soft, torch.Tensor) and soft.requires_grad:
            region = self.observer.region()
            if region is not None:
                self._sites |= {region[0]}
                return soft if region[1] else soft.detach()
        return soft

    @abstractmethod
    def carry_out(self, call: Call) -> Any:
        """An operation on tensors that depend on the input."""

    @abstractmethod
    def plain(self, call: Call) -> Any:
        """An operation as autograd differentiates it, on the twins."""


class Entry(NamedTuple):
    """What is done about one operation.

    `effect` says what it does to the gradient here, None if nothing bad; `repair` is called then
    and returns what the model gets.
    """

    effect: Callable[[Twins, Call], Treatment | None]
    repair: Callable[[Twins, Call], Any]


def entries(
    names: str,
    effect: Callable[[Twins, Call], Treatment | None],
    repair: Callable[[Twins, Call], Any],
) -> dict[str, Entry]:
    """The same for several operations, by their names."""
    return dict.fromkeys(names.split(), Entry(effect, repair))
