"""Rows of scores from whatever a model returns: tuples, dictionaries, one logit, maps of 1 × 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from auditor.errors import LoadError

Outputs = Literal["logits", "log-probabilities", "probabilities"]
#: A key of a dictionary, a field of an object, or a position in a tuple.
Key = str | int


def scores_in(answer: object, key: Key | None, count: int, outputs: Outputs) -> object:
    """The (count, K) scores in a model's answer to `count` images; differentiable.

    (count, K, 1, 1) is flattened. One number per image becomes the scores of two classes, the
    second one's being what the model returns. What is neither is handed on as it is.

    Args:
        key: where the scores are, if the model does not return them alone.
        outputs: what the model's numbers are.

    Raises:
        LoadError: there is nothing under `key`.
    """
    found = answer if key is None else _picked(answer, key)
    if not isinstance(found, torch.Tensor):
        return found
    single = found.numel() == count and all(size == 1 for size in found.shape[1:])
    if single and found.is_floating_point():
        return _two_classes(found.reshape(count), outputs)
    if found.dim() > 2 and len(found) == count and found[0].numel() == found.shape[1]:
        return found.flatten(1)
    return found


def _two_classes(second: torch.Tensor, outputs: Outputs) -> torch.Tensor:
    if outputs == "probabilities":
        first = 1 - second
    elif outputs == "log-probabilities":
        first = (-torch.expm1(second)).log()
    else:
        first = torch.zeros_like(second)
    return torch.stack([first, second], 1)


def _picked(answer: object, key: Key) -> object:
    holds: Any = answer
    try:
        if isinstance(answer, torch.Tensor):
            raise TypeError
        if isinstance(answer, Mapping) or isinstance(key, int):
            return holds[key]
        return getattr(holds, key)
    except (LookupError, TypeError, AttributeError):
        raise LoadError(
            f"The model returns {described(answer)}, in which there is no {key!r}.",
            where="[[model]] output_key",
            expected="a key or position of what the model returns",
            remedy=remedy_for(answer),
        ) from None


def described(answer: object) -> str:
    """What a model returned, with the shapes of the tensors in it."""
    if answer is None:
        return "nothing (its forward has no return)"
    if isinstance(answer, torch.Tensor):
        return "a tensor"
    parts = [f"{key}: {_form(value)}" for key, value in _entries(answer)]
    name = type(answer).__name__
    return f"{name} ({', '.join(parts)})" if parts else name


def remedy_for(answer: object) -> str:
    """How to take the scores out of an answer that is not a tensor."""
    if isinstance(answer, torch.Tensor):
        return "leave output_key out"
    fitting = [key for key, value in _entries(answer) if _rows(value)]
    if not fitting:
        return "wrap it in a module whose forward returns the scores alone"
    best = "logits" if "logits" in fitting else fitting[0]
    return f"write output_key = {best if isinstance(best, int) else chr(34) + best + chr(34)}"


def _entries(answer: object) -> list[tuple[Key, object]]:
    if isinstance(answer, Mapping):
        return list(answer.items())
    if hasattr(answer, "_fields"):
        return [(name, getattr(answer, name)) for name in answer._fields]
    return list(enumerate(answer)) if isinstance(answer, (tuple, list)) else []


def _form(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def _rows(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0
