"""How a model has to be differentiated where torch refuses the usual way.

A refusal says nothing of the model's gradient: `torch.autograd.grad` refuses checkpoints of the
older kind, saved values may be written over by a model that is deployed without gradients, backward
hooks do not go together with operations in place, and cuDNN's recurrent layers have no backward
pass in evaluation mode. What helps is found by trying, once for a model and all its copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar, get_args

import torch

from auditor.errors import text_of
from auditor.subject.memory import is_out_of_memory

_T = TypeVar("_T")

#: `backward()` in the place of `torch.autograd.grad`; copies of what is kept for the backward pass;
#: no backward hooks while a graph is recorded; recurrent layers without cuDNN.
Need = Literal["backward", "copies", "no hooks", "no cuDNN"]
#: What torch says where each of them helps.
_WORDS: dict[Need, tuple[str, ...]] = {
    "backward": ("incompatible with .grad()",),
    "copies": ("modified by an inplace operation",),
    "no hooks": ("is being modified inplace",),
    "no cuDNN": ("cudnn RNN backward",),
}
#: What autograd says of an operation that has no derivative.
_UNDERIVED = ("derivative for", "but no autograd formula")


class RefusedError(RuntimeError):
    """torch refused the backward pass; the text is its own."""


class Differentiation:
    """What differentiating a model takes, as far as it is known."""

    def __init__(self) -> None:
        self.needs: set[Need] = set()

    def persist(self, work: Callable[[], _T], retract: Callable[[], None]) -> _T:
        """`work`, again and again as long as torch refuses and something is left to try.

        Args:
            retract: called before each further attempt, to take back what the failed one counted.

        Raises:
            RuntimeError: what torch said at last, or the first time where nothing helped.
        """
        first: RuntimeError | None = None
        before = set(self.needs)
        while True:
            try:
                return work()
            except RuntimeError as error:
                first = first or error
                need = None if is_out_of_memory(error) else self._next(error)
                if need is None:
                    self.needs = before
                    raise first from None
                self.needs.add(need)
            retract()

    def _next(self, error: RuntimeError) -> Need | None:
        for need in get_args(Need):
            if need not in self.needs and any(words in text_of(error) for words in _WORDS[need]):
                return need  # type: ignore[no-any-return]
        if isinstance(error, RefusedError) and "backward" not in self.needs:
            return "backward"
        return None

    @contextlib.contextmanager
    def recording(self, module: torch.nn.Module) -> Iterator[None]:
        """Active while `module` computes what is to be differentiated."""
        with contextlib.ExitStack() as stack:
            if "copies" in self.needs:
                stack.enter_context(
                    torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept)
                )
            if "no hooks" in self.needs:
                stack.enter_context(_without_backward_hooks(module))
            if "no cuDNN" in self.needs:
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield

    def derivative(
        self, total: torch.Tensor, point: torch.Tensor, *, keep: bool = False
    ) -> torch.Tensor | None:
        """d total / d point; None where the graph leads nowhere or an operation has none at all.

        Args:
            point: a leaf.
            keep: the graph, for a further one.

        Raises:
            RefusedError: torch refuses.
        """
        try:
            if "backward" not in self.needs:
                (slope,) = torch.autograd.grad(total, point, retain_graph=keep, allow_unused=True)
                return slope
            point.grad = None
            total.backward(retain_graph=keep)  # type: ignore[no-untyped-call]
            found, point.grad = point.grad, None
            return found
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            if any(words in text_of(error) for words in _UNDERIVED):
                return None
            raise RefusedError(text_of(error)) from error


@contextlib.contextmanager
def _without_backward_hooks(module: torch.nn.Module) -> Iterator[None]:
    """They see gradients pass, and are no part of what a module computes."""
    kinds = ("_backward_hooks", "_backward_pre_hooks")
    kept = [
        (part, kind, getattr(part, kind).copy())
        for part in module.modules()
        for kind in kinds
        if getattr(part, kind, None)
    ]
    for part, kind, _ in kept:
        getattr(part, kind).clear()
    try:
        yield
    finally:
        for part, kind, hooks in kept:
            getattr(part, kind).update(hooks)
