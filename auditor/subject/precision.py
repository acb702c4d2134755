"""The floating-point types of a model: which it has, and how it is cast where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch


def types_of(tensors: Iterable[torch.Tensor]) -> tuple[torch.dtype, ...]:
    """The floating types among them, the coarsest first; of complex ones that of their parts."""
    found = set()
    for tensor in tensors:
        if tensor.is_complex():
            found.add(tensor.dtype.to_real())
        elif tensor.is_floating_point():
            found.add(tensor.dtype)
    return tuple(sorted(found, key=lambda dtype: -torch.finfo(dtype).eps))


def types_in(module: torch.nn.Module) -> tuple[torch.dtype, ...]:
    """The floating types of a module's parameters and buffers, the coarsest first."""
    return types_of(chain(module.parameters(), module.buffers()))


def weight_types(module: torch.nn.Module) -> tuple[torch.dtype, ...]:
    """Those of its parameters alone; of its buffers where it has none."""
    return types_of(module.parameters()) or types_of(module.buffers())


def cast(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Bring parameters and buffers to a floating type, in place.

    Complex ones follow to the complex type of that width and keep their imaginary parts; where
    there is none (half precision) they stay.
    """
    # Other types have no complex arithmetic worth the name.
    wide = {torch.float32: torch.complex64, torch.float64: torch.complex128}

    def converted(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(wide.get(dtype, tensor.dtype))
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    module._apply(converted)  # type: ignore[no-untyped-call]


def names_of(types: Iterable[torch.dtype]) -> str:
    """Such as "float16 and float32"."""
    return " and ".join(str(dtype).removeprefix("torch.") for dtype in types)


def size_of(module: torch.nn.Module) -> int:
    """How many parameters a module has; those that it has yet to make do not count."""
    return sum(one.numel() for one in module.parameters() if not torch.nn.parameter.is_lazy(one))
