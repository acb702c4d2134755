"""Whether a converted ONNX model answers as the graph does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.api import LoadError, import_extra

#: Answers that are nearer than this, relative to their range, are taken for the same.
_SAME = 1e-3
_PICTURES = 4
#: Where the graph leaves height or width open, the first of these that it takes.
_SIDES = (32, 64, 128, 224, 256, 299)


@dataclass(frozen=True)
class Compared:
    """What came of a comparison.

    Attributes:
        difference: how the two differ, as a clause; empty where they do not.
        sentence: what was compared, or why nothing could be.
        done: whether they were compared.
    """

    difference: str
    sentence: str
    done: bool = True


def compared(module: Any, path: str, shape: Sequence[int | None]) -> Compared:
    """Ask both about noise and flat colours.

    Args:
        module: the converted model, for (B, C, H, W).
        path: of the ONNX file.
        shape: of the graph's input; None where any size will do.
    """
    import torch

    name, reference = _reference(path)
    found = _answered(reference, shape)
    if isinstance(found, str):
        return Compared("", f"Its answers were not compared with those of {name}: {found}.", False)
    x, theirs = found
    with torch.no_grad():
        ours = _first(module.eval()(x))
    spread = float(theirs.max() - theirs.min()) or 1.0
    apart = float((ours - theirs).abs().max()) / spread if ours.shape == theirs.shape else 1.0
    if not apart < _SAME:
        return Compared(
            f"the converted model differs from {name} by {apart:.2g} of the scores' range", ""
        )
    return Compared(
        "",
        f"On {len(x)} pictures its answers are those of {name}, to {_SAME:.1%} of their range.",
    )


def first_line(error: Exception) -> str:
    """What was raised, as a clause."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _reference(path: str) -> tuple[str, Callable[[Any], Any]]:
    """What computes the graph as it is: onnxruntime, or the slow one of the package onnx."""
    import torch

    try:
        import_extra("onnxruntime", "onnx", 'loader = "onnx"')
    except LoadError:
        from onnx.reference import ReferenceEvaluator

        evaluator: Any = ReferenceEvaluator(path)
        name = evaluator.input_names[0]
        return "ONNX's reference evaluator", lambda x: torch.from_numpy(
            evaluator.run(None, {name: x.numpy()})[0].copy()
        )
    from .runtime import OnnxRuntime

    return "onnxruntime", OnnxRuntime(path)


def _answered(
    reference: Callable[[Any], Any], shape: Sequence[int | None]
) -> tuple[Any, Any] | str:
    """Pictures of a size that the graph takes, and its answer; or why it takes none."""
    batch, *sizes = shape
    why = ""
    for side in _SIDES if None in sizes else _SIDES[:1]:
        x = _pictures(batch or _PICTURES, [size or side for size in sizes])
        try:
            return x, _first(reference(x))
        except Exception as error:  # whatever a runtime raises
            why = first_line(error)
    return why


def _pictures(count: int, sizes: Sequence[int]) -> Any:
    """(count, C, H, W): the first noise, the next a flat colour, and so on."""
    import torch

    x = torch.rand(count, *sizes, generator=torch.Generator().manual_seed(0))
    x[1::2] = x[1::2, :, :1, :1]
    return x


def _first(answer: Any) -> Any:
    return answer if hasattr(answer, "shape") else answer[0]
