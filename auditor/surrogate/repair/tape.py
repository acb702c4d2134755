"""A pass of a model with a differentiable twin of everything that depends on the input.

The model computes on the very tensors it is deployed with: no gradients, nothing that it could
notice. Beside each tensor that depends on the input lives its *soft* twin, which has the same
values and a graph that reaches the input. An honest operation is carried out once, on the twins,
and the model is given their detached alias. At an operation that cuts or falsifies the gradient a
rule (`rules`) decides what the twin's gradient is; the model gets the operation's true result.
Whatever a model does to its own tensors (detach, no_grad, hooks, requires_grad) does not reach the
twins, and a purifier that differentiates inside gets exactly the gradients it always gets.

Source: the idea of replacing gradients only, Athalye et al. 2018, arXiv:1802.00420, section 4.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from auditor.surrogate.names import INDEXING, LIKE, MULTIPLE, RANDOM, RAW, in_place, name_of
from auditor.surrogate.observer import Observer
from auditor.surrogate.repair.heads import carry
from auditor.surrogate.repair.links import (
    REFUSALS,
    Call,
    Entry,
    Link,
    attach,
    graph,
    link_of,
    mapped,
    shared,
    tensors,
    usable,
)
from auditor.surrogate.repair.operators import rule_of
from auditor.surrogate.repair.rules import RULES
from auditor.surrogate.repair.soft import straight
from auditor.surrogate.repair.truncation import Departures
from auditor.surrogate.repair.writing import into_out, write


class Tape(TorchFunctionMode):
    """Keeps the twins; active while the model runs.

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

    def entrance(self, point: torch.Tensor) -> torch.Tensor:
        """The model's own copy of the input `point`, whose twin is attached to it."""
        with graph():
            return self.emit(point.clone())

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

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, name_of(func)
        if self.paused:
            return func(*args, **kwargs)
        if self.observer is not None:
            self.observer.observe(name, args)
        relevant = args[:1] if name in LIKE else (args, kwargs)
        found = (self.link(tensor) for tensor in tensors(relevant))
        links = [link for link in found if link is not None]
        if not links or name in RAW:
            return func(*args, **kwargs)
        before, self.recorded = self.recorded, torch.is_grad_enabled()
        try:
            with graph():
                return self.carry_out(Call(name, func, args, kwargs, links))
        finally:
            self.recorded = before

    def carry_out(self, call: Call) -> Any:
        """An operation on tensors that depend on the input."""
        before = self._sites
        self._sites = frozenset().union(*(link.sites for link in call.links))
        try:
            if call.kwargs.get("out") is not None:
                return into_out(self, call)
            if in_place(call.name):
                return write(self, call)
            out = self._computed(call)
            carry(self, call, out)
            return out
        finally:
            self._sites = before

    def _computed(self, call: Call) -> Any:
        rule = RULES.get(call.name) or rule_of(call.name)
        if rule is not None and any(link.live for link in call.links):
            effect = rule.effect(self, call)
            if effect and self.permits(call.name, effect):
                return self._repaired(rule, call)
        return self.plain(call)

    def _repaired(self, rule: Entry, call: Call) -> Any:
        if not self.differentiated(call):
            return rule.repair(self, call)
        # The model gets the true result with its own graph; the twin is what the rule says.
        states, hard = _random_states() if call.name in RANDOM else [], call.hard()
        for put, state in states:
            put(state)
        twins = iter(list(tensors(rule.repair(self, call))))

        def one(tensor: torch.Tensor) -> torch.Tensor:
            link = self.link(next(twins))
            return tensor if link is None else attach(tensor, link)

        return mapped(one, hard)

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

    def plain(self, call: Call) -> Any:
        """An operation as autograd differentiates it, on the twins."""
        whole = [t for t in tensors((call.args, call.kwargs)) if self._whole(t)]
        if whole:
            return self._with_integers(call)
        originals: dict[int, torch.Tensor] = {}

        def twin(tensor: torch.Tensor) -> torch.Tensor:
            soft: torch.Tensor = self.soft(tensor)
            originals[id(soft)] = tensor
            return usable(soft)

        separate = self.differentiated(call)
        states = _random_states() if separate and call.name in RANDOM else []
        hard = call.hard() if separate else None
        for put, state in states:
            put(state)
        try:
            out = call.func(*mapped(twin, call.args), **mapped(twin, call.kwargs))
        except REFUSALS:
            return self._unknown(call, call.hard())
        if separate:
            softs = iter(list(tensors(out)))
            return mapped(lambda tensor: self._beside(tensor, next(softs)), hard)
        if self.cautious and call.name in MULTIPLE:
            soft = self.soft(call.args[0])
            out = [soft.as_strided(o.shape, o.stride(), o.storage_offset()) for o in out]
        return mapped(lambda tensor: self._wrapped(call, tensor, originals), out)

    def _whole(self, tensor: torch.Tensor) -> bool:
        return not tensor.is_floating_point() and self.link(tensor) is not None

    def _beside(self, hard: torch.Tensor, soft: torch.Tensor) -> torch.Tensor:
        return self.mark(hard, soft if soft.is_floating_point() else None)

    def _wrapped(self, call: Call, out: torch.Tensor, originals: dict[int, torch.Tensor]) -> Any:
        if id(out) in originals:
            return originals[id(out)]
        if not out.is_floating_point():
            return self.mark(out, None)
        if out.requires_grad or not any(link.live for link in call.links):
            return self.emit(self.passed(out))
        return self._unknown(call, out)

    def passed(self, soft: Any) -> Any:
        """The twin, cut where an observer wants to see what no_grad would do."""
        if self.observer is not None and isinstance(soft, torch.Tensor) and soft.requires_grad:
            region = self.observer.region()
            if region is not None:
                self._sites |= {region[0]}
                return soft if region[1] else soft.detach()
        return soft

    def _unknown(self, call: Call, hard: Any) -> Any:
        """A result without a graph: the identity where the shape is an argument's."""

        def one(out: torch.Tensor) -> torch.Tensor:
            if link_of(out, self) is not None:
                return out
            for tensor in tensors((call.args, call.kwargs)):
                if out.is_floating_point() and self.live(tensor) and tensor.shape == out.shape:
                    if self.permits(call.name, "cuts"):
                        return self.result(out, self.soft(tensor))
                    break
            return self.mark(out, None)

        return mapped(one, hard)

    def _with_integers(self, call: Call) -> Any:
        """The true result, and the same computed on the integers' floating-point twins."""
        hard = call.hard()

        def floats(tensor: torch.Tensor) -> torch.Tensor:
            return tensor if self._whole(tensor) else usable(self.soft(tensor))

        def content(tensor: torch.Tensor) -> torch.Tensor:
            return usable(self.soft(tensor)) if tensor is call.args[0] else floats(tensor)

        out: Any = None
        for twin in [content if call.name in INDEXING else self.soft, floats]:
            try:
                out = call.func(*mapped(twin, call.args), **mapped(twin, call.kwargs))
            except REFUSALS:
                continue
            break
        softs = iter(list(tensors(out)))

        def one(tensor: torch.Tensor) -> torch.Tensor:
            soft = next(softs, None)
            if soft is None or soft.shape != tensor.shape or not soft.is_floating_point():
                return self.mark(tensor, None)
            mask = tensor.dtype == torch.bool
            return self.result(tensor, self.passed(soft), mask=mask)

        return mapped(one, hard)


def _random_states() -> list[tuple[Callable[[Any], None], Any]]:
    """torch's random states, each with what puts it back."""
    states: list[tuple[Callable[[Any], None], Any]] = [(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_available():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return states
