"""What is known of one of the model's tensors during a pass: its differentiable twin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

#: Where a tensor of the model carries its link.
_KEY = "_auditor_link"
#: What an operation raises that cannot be carried out on floating-point twins.
REFUSALS = (RuntimeError, TypeError, IndexError, NotImplementedError)


@dataclass(slots=True)
class Choice:
    """An index that stands for a choice among classes."""

    #: (..., K) soft weights, the index's shape plus one dimension.
    weights: torch.Tensor
    #: Like weights: the scores that were compared.
    scores: torch.Tensor


@dataclass(slots=True, eq=False)
class Link:
    """What a pass knows of one tensor that depends on the input.

    Attributes:
        owner: the pass.
        soft: floating point, same shape and values, attached to the graph; None if the tensor
            depends on the input in a way that nothing can be differentiated through.
        mask: it holds the 0 and 1 of a comparison.
        choice: set for an argmax and what is made of it.
        scores: like soft; where the tensor is what a head makes of scores, in their order (a
            softmax, rounded or not, a one-hot): these scores.
        sites: the operations without an honest gradient on the way from the input.
    """

    owner: object
    soft: torch.Tensor | None
    mask: bool = False
    choice: Choice | None = None
    scores: torch.Tensor | None = None
    sites: frozenset[Any] = frozenset()

    @property
    def live(self) -> bool:
        """Whether a gradient gets through to the input."""
        return self.soft is not None and self.soft.requires_grad


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


def link_of(tensor: torch.Tensor, owner: object) -> Link | None:
    """The tensor's link in this pass; one of an earlier pass does not count."""
    link: Link | None = tensor.__dict__.get(_KEY)
    return link if link is not None and link.owner is owner else None


def attach(tensor: torch.Tensor, link: Link) -> torch.Tensor:
    """The tensor, with that link."""
    tensor.__dict__[_KEY] = link
    return tensor


def tensors(values: Any) -> Iterator[torch.Tensor]:
    """All tensors in a nest of tuples, lists and dictionaries."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors(value)
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors(value)


def mapped(change: Callable[[torch.Tensor], Any], values: Any) -> Any:
    """The same nest with every tensor changed."""
    if isinstance(values, torch.Tensor):
        return change(values)
    if isinstance(values, (tuple, list)):
        parts = [mapped(change, value) for value in values]
        if type(values) in (tuple, list):
            return type(values)(parts)
        # A named tuple takes its fields one by one, torch's own take them as one sequence.
        return type(values)(*parts) if hasattr(values, "_fields") else type(values)(parts)
    if isinstance(values, dict):
        return {key: mapped(change, value) for key, value in values.items()}
    return values


def shared(soft: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether two tensors lie in the same memory."""
    return (
        soft.device == tensor.device
        and soft.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    )


def usable(tensor: torch.Tensor) -> torch.Tensor:
    """Tensors made under inference_mode cannot be part of a graph; a copy can."""
    return tensor.clone() if tensor.is_inference() else tensor


@contextlib.contextmanager
def graph() -> Iterator[None]:
    """Graphs are recorded meanwhile, whatever the model's mode."""
    before, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if inference else contextlib.nullcontext():
        torch._C._set_grad_enabled(True)
        try:
            yield
        finally:
            torch._C._set_grad_enabled(before)
