"""A pass of a model without its randomness: every random number is replaced by what it is worth.

Torch's random functions return means (a uniform number is 0.5, a normal one 0, an exponential one
1 / rate, a coin its probability, dropout what it is in evaluation mode); choices among numbers take
the middle one, a permutation is the identity, and a draw among weights takes the largest. That
alone is the network at its noise's mean, and where noise decides something it would be wrong: a
gate that opens with a chance of 0.3 would never open. So what is known of a random tensor (`laws`)
stays with it, and a comparison, a sigmoid or a softmax of it gives the chance, or about the
expectation, differentiable in whatever it depends on.

It is an approximation: the expectation of a network is not the network of expectations, several
uses of one random number are taken one by one, and numbers from NumPy and Python are drawn as
always. Nothing depends on its being exact, for what an attack finds counts once the victim has
confirmed it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from auditor.surrogate.expectation.chances import answer
from auditor.surrogate.expectation.draws import SOURCES
from auditor.surrogate.expectation.laws import Book
from auditor.surrogate.names import base_name, in_place, name_of
from auditor.surrogate.repair.links import REFUSALS, tensors


class Expectation(TorchFunctionMode):
    """Active while a model runs; the innermost mode, so that others see what it does instead."""

    def __init__(self) -> None:
        super().__init__()
        self._book = Book()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, name_of(func)
        source = SOURCES.get(name)
        if source is not None and kwargs.get("out") is None:
            try:
                return self._book.note(*source(func, args, kwargs))
            except (*REFUSALS, ValueError):  # arguments in a form that is not known here
                return func(*args, **kwargs)
        if not any(tensor in self._book for tensor in tensors((args, kwargs))):
            return func(*args, **kwargs)
        if in_place(name):
            return self._written(base_name(name), func, args, kwargs)
        found = answer(self._book, name, func, args, kwargs)
        return func(*args, **kwargs) if found is None else self._book.note(*found)

    def _written(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """A function that writes to its first argument, of which something else is known then."""
        target: torch.Tensor = args[0]
        found = answer(self._book, name, getattr(torch.Tensor, name, func), args, kwargs)
        if found is None or found[0].shape != target.shape:
            self._book.note(target, None)
            return func(*args, **kwargs)
        target.copy_(found[0])
        return self._book.note(target, found[1])
