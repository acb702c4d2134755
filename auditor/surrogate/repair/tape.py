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

from collections.abc import Callable
from typing import Any

import torch

from auditor.surrogate.names import INDEXING, LIKE, MULTIPLE, RANDOM, RAW, in_place, name_of
from auditor.surrogate.repair.heads import carry
from auditor.surrogate.repair.links import (
    REFUSALS,
    Call,
    attach,
    graph,
    link_of,
    mapped,
    tensors,
    usable,
)
from auditor.surrogate.repair.operators import rule_of
from auditor.surrogate.repair.rules import RULES
from auditor.surrogate.repair.twins import Entry, Twins
from auditor.surrogate.repair.writing import into_out, write


class Tape(Twins):
    """Carries out every operation of the model on its twins; active while the model runs."""

    def entrance(self, point: torch.Tensor) -> torch.Tensor:
        """The model's own copy of the input `point`, whose twin is attached to it."""
        with graph():
            return self.emit(point.clone())

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
