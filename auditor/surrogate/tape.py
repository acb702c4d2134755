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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from auditor.surrogate.leaving import Departures
from auditor.surrogate.links import Link, attach, link_of, mapped, tensors
from auditor.surrogate.names import INDEXING, LIKE, RANDOM, RAW, base_name, in_place, name_of
from auditor.surrogate.observer import Observer
from auditor.surrogate.rules import RULES
from auditor.surrogate.soft import straight

#: What an operation raises that cannot be carried out on floating-point twins.
_REFUSALS = (RuntimeError, TypeError, IndexError, NotImplementedError)


@dataclass(slots=True)
class Call:
    """One call of a torch function by the model."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    links: list[Link]

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        if len(self.args) > position:
            return self.args[position]
        return self.kwargs.get(name, default)

    def hard(self) -> Any:
        """What the model would get: the true result."""
        return self.func(*self.args, **self.kwargs)


class Tape(TorchFunctionMode):
    """Keeps the twins; active while the model runs.

    Args:
        observer: told of every repair, and may forbid some; None to repair all.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        super().__init__()
        self.observer = observer
        self.departures = Departures()
        #: Whether operations are left alone for now.
        self.paused = False
        self._sites: frozenset[Any] = frozenset()

    def entrance(self, point: torch.Tensor) -> torch.Tensor:
        """The model's own copy of the input `point`, whose twin is attached to it."""
        with _graph():
            return self.emit(point.clone())

    def link(self, tensor: torch.Tensor) -> Link | None:
        """What is known of the tensor; also where it is a view, or comes back from outside."""
        link = link_of(tensor, self)
        if link is not None:
            return link
        base = tensor._base
        known = None if base is None else link_of(base, self)
        if known is not None:
            return self._of_view(tensor, known)
        if self.departures.pending and not isinstance(tensor, torch.nn.Parameter):
            with _graph():
                found = self.departures.returned(tensor)
                if found is not None:
                    link = Link(self, straight(found[0], tensor), sites=found[1])
                    attach(tensor, link)
        return link

    def _of_view(self, tensor: torch.Tensor, known: Link) -> Link:
        soft = known.soft
        if soft is not None and soft.dtype == tensor.dtype and _shared(soft, tensor):
            with _graph():
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
        with _graph():
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
            with _graph():
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
            self.observer.look(name, args)
        relevant = args[:1] if name in LIKE else (args, kwargs)
        found = (self.link(tensor) for tensor in tensors(relevant))
        links = [link for link in found if link is not None]
        if not links or name in RAW:
            return func(*args, **kwargs)
        with _graph():
            return self.carry_out(Call(name, func, args, kwargs, links))

    def carry_out(self, call: Call) -> Any:
        """An operation on tensors that depend on the input."""
        before = self._sites
        self._sites = frozenset().union(*(link.sites for link in call.links))
        try:
            if call.kwargs.get("out") is not None:
                return self._into_out(call)
            if in_place(call.name):
                return self._in_place(call)
            rule = RULES.get(call.name)
            if rule is not None and any(link.live for link in call.links):
                effect = rule.effect(self, call)
                if effect and self.permits(call.name, effect):
                    return rule.repair(self, call)
            return self.plain(call)
        finally:
            self._sites = before

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
            return _usable(soft)

        separate = _model_differentiates(call)
        state = torch.get_rng_state() if separate and call.name in RANDOM else None
        hard = call.hard() if separate else None
        if state is not None:
            torch.set_rng_state(state)
        try:
            out = call.func(*mapped(twin, call.args), **mapped(twin, call.kwargs))
        except _REFUSALS:
            return self._unknown(call, call.hard())
        if separate:
            softs = iter(list(tensors(out)))
            return mapped(lambda tensor: self._beside(tensor, next(softs)), hard)
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
            return self.emit(self._passed(out))
        return self._unknown(call, out)

    def _passed(self, soft: torch.Tensor) -> torch.Tensor:
        """The twin, cut where an observer wants to see what no_grad would do."""
        if self.observer is not None and soft.requires_grad:
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
            return tensor if self._whole(tensor) else _usable(self.soft(tensor))

        def content(tensor: torch.Tensor) -> torch.Tensor:
            return _usable(self.soft(tensor)) if tensor is call.args[0] else floats(tensor)

        out: Any = None
        for twin in [content if call.name in INDEXING else self.soft, floats]:
            try:
                out = call.func(*mapped(twin, call.args), **mapped(twin, call.kwargs))
            except _REFUSALS:
                continue
            break
        softs = iter(list(tensors(out)))

        def one(tensor: torch.Tensor) -> torch.Tensor:
            soft = next(softs, None)
            if soft is None or soft.shape != tensor.shape or not soft.is_floating_point():
                return self.mark(tensor, None)
            mask = tensor.dtype == torch.bool
            return self.result(tensor, self._passed(soft), mask=mask)

        return mapped(one, hard)

    def _into_out(self, call: Call) -> Any:
        kwargs = dict(call.kwargs)
        out = kwargs.pop("out")
        result = self.carry_out(Call(call.name, call.func, call.args, kwargs, call.links))
        mapped_results = list(tensors(result))
        for target, value in zip(tensors(out), mapped_results, strict=True):
            self.assign(target, value)
        return out

    def _in_place(self, call: Call) -> Any:
        base = base_name(call.name)
        target: torch.Tensor = call.args[0]
        rule = RULES.get(base)
        if rule is not None and any(link.live for link in call.links):
            func = getattr(torch.Tensor, base, None) or getattr(torch, base, None)
            renamed = Call(base, func, call.args, call.kwargs, call.links)
            effect = rule.effect(self, renamed)
            if effect and self.permits(base, effect):
                return self.assign(target, rule.repair(self, renamed))
        link = self.target(target)
        soft = link.soft
        if soft is None or not target.is_floating_point() or not _shared(soft, target):
            return self._beside_in_place(call, link)
        rest = mapped(lambda t: _usable(self.soft(t)), call.args[1:])
        try:
            call.func(soft, *rest, **mapped(self.soft, call.kwargs))
        except _REFUSALS:  # one of several views of a tensor
            return self._beside_in_place(call, link)
        link.sites |= self._sites
        return target

    def _beside_in_place(self, call: Call, link: Link) -> Any:
        """In place on a tensor that does not share its memory with its twin."""
        target, soft = call.args[0], link.soft
        copy = target.detach().to(torch.get_default_dtype()) if soft is None else soft.clone()
        rest = mapped(self.soft, call.args[1:])
        try:
            call.func(copy, *rest, **mapped(self.soft, call.kwargs))
        except _REFUSALS:
            copy = soft if soft is not None else copy
        with torch.no_grad():
            call.hard()
        link.soft = straight(copy, target) if copy.shape == target.shape else None
        link.sites |= self._sites
        link.choice = link.scores = None
        return target

    def target(self, tensor: torch.Tensor) -> Link:
        """The link of a tensor about to be written to; it gets one if it has none."""
        link = self.link(tensor)
        if link is None and tensor.is_floating_point() and not tensor.is_inference():
            base = tensor._base
            if base is not None and base.is_floating_point() and not base.requires_grad:
                known = Link(self, base.detach(), sites=self._sites)
                attach(base, known)
                return self._of_view(tensor, known)
            link = Link(self, tensor.detach(), sites=self._sites)
            attach(tensor, link)
        elif link is None:
            link = Link(self, None, sites=self._sites)
            attach(tensor, link)
        return link

    def assign(self, target: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Write `value`, a tensor of the model, over `target`."""
        link, source = self.target(target), self.link(value)
        if link.soft is not None and target.is_floating_point() and _shared(link.soft, target):
            link.soft.copy_(self.soft(value))
        else:
            target.copy_(value)
            link.soft = None if source is None else source.soft
        link.sites |= self._sites
        if source is not None:
            link.mask, link.choice, link.scores = source.mask, source.choice, source.scores
        return target


def _shared(soft: torch.Tensor, tensor: torch.Tensor) -> bool:
    return (
        soft.device == tensor.device
        and soft.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    )


def _usable(tensor: torch.Tensor) -> torch.Tensor:
    """Tensors made under inference_mode cannot be part of a graph; a copy can."""
    return tensor.clone() if tensor.is_inference() else tensor


def _model_differentiates(call: Call) -> bool:
    """Whether the model itself wants a gradient of this operation (a purifier does)."""
    return any(tensor.requires_grad for tensor in tensors((call.args, call.kwargs)))


@contextlib.contextmanager
def _graph() -> Iterator[None]:
    """Graphs are recorded meanwhile, whatever the model's mode."""
    before, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if inference else contextlib.nullcontext():
        torch._C._set_grad_enabled(True)
        try:
            yield
        finally:
            torch._C._set_grad_enabled(before)
