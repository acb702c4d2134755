"""ONNX files."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.api import FilePath, LoadError, import_extra, model_loader, param

#: Outputs of converted models that are nearer than this to onnxruntime's, relative to their range,
#: are taken for the same.
_SAME = 1e-3
_WHERE = 'loader = "onnx"'


@model_loader(name="onnx")
@dataclass(frozen=True, kw_only=True)
class Onnx:
    """An ONNX file, converted to torch by onnx2torch so that it has a gradient.

    The converted model has to answer as onnxruntime does. Where it does not, or cannot be
    converted, onnxruntime answers, there is no gradient, and only attacks that need none are run.
    """

    path: FilePath = param(doc="the file, relative to audit.toml")
    runtime: Literal["auto", "torch", "onnxruntime"] = param(
        "auto", '"torch" for the converted model or an error; "onnxruntime" for no conversion'
    )

    def files(self) -> list[str]:
        """What the graph keeps beside it: weights of large models lie in files of their own."""
        onnx = import_extra("onnx", "onnx", _WHERE)
        graph = onnx.load(self.path, load_external_data=False).graph
        return sorted({str(Path(self.path).parent / name) for name in _external(graph)})

    def load(self) -> Any:
        """The converted model, or one that calls onnxruntime."""
        from .batches import AnyBatch

        graph = _read(self.path)
        least, most = _batch(graph, self.path)
        if self.runtime == "onnxruntime":
            return AnyBatch(_runtime(self.path), least, most)
        try:
            module = AnyBatch(_converted(graph), least, most)
            why = _difference(module, self.path, graph) if self.runtime == "auto" else ""
        except LoadError:
            raise
        except Exception as error:  # a converter may raise anything
            why = f"onnx2torch cannot convert it ({type(error).__name__}: {error})"
        if not why:
            return module
        if self.runtime == "torch":
            raise LoadError(
                f"There is no model with a gradient: {why}.",
                where=self.path,
                expected="a graph that onnx2torch can convert",
                remedy='runtime = "auto" audits it without gradients; or give a `factory`',
            )
        fallback = AnyBatch(_runtime(self.path), least, most)
        fallback.remark = f"onnxruntime runs the model, without a gradient: {why}."
        return fallback


def _external(graph: Any) -> Iterator[str]:
    """The names of the files with external data, relative to the graph's folder."""
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                yield from _external(inner) if inner.node or inner.initializer else ()
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _read(path: str) -> Any:
    onnx = import_extra("onnx", "onnx", _WHERE)
    try:
        graph = onnx.load(path)
        onnx.checker.check_model(graph)
    except Exception as error:  # protobuf and checker errors have no common ancestor
        raise LoadError(
            f"The file cannot be read: {str(error).strip().splitlines()[0]}",
            where=path,
            expected="an ONNX model",
            remedy="export it again; a file with external data needs its data beside it",
        ) from None
    return graph


def _inputs(graph: Any) -> list[Any]:
    constants = {one.name for one in graph.graph.initializer}
    return [one for one in graph.graph.input if one.name not in constants]


def _shape(graph: Any) -> list[int | None]:
    dimensions = _inputs(graph)[0].type.tensor_type.shape.dim
    return [one.dim_value if one.HasField("dim_value") else None for one in dimensions]


def _batch(graph: Any, path: str) -> tuple[int, int | None]:
    """The smallest and the largest batch that the graph takes."""
    inputs = _inputs(graph)
    if len(inputs) != 1 or len(_shape(graph)) != 4:
        raise LoadError(
            f"The graph has the inputs {', '.join(one.name for one in inputs)}.",
            where=path,
            expected="one input, images (B, C, H, W)",
            remedy="export a model that takes images alone, channels before height and width",
        )
    size = _shape(graph)[0]
    return (size, size) if size else (1, None)


def _converted(graph: Any) -> Any:
    converter = import_extra("onnx2torch", "onnx", _WHERE)
    return converter.convert(copy.deepcopy(graph))


def _runtime(path: str) -> Any:
    from .runtime import OnnxRuntime

    import_extra("onnxruntime", "onnx", _WHERE)
    return OnnxRuntime(path)


def _difference(module: Any, path: str, graph: Any) -> str:
    """How the converted model differs from onnxruntime on a random picture; empty if it does not.

    Without onnxruntime there is nothing to compare with, and where height or width are free, any
    will do.
    """
    try:
        import_extra("onnxruntime", "onnx", _WHERE)
    except LoadError:
        return ""
    import torch

    from .runtime import OnnxRuntime

    batch, *sizes = _shape(graph)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch or 2, *(size or 32 for size in sizes), generator=generator)
    with torch.no_grad():
        ours, theirs = (_first(one(x)) for one in (module.eval(), OnnxRuntime(path)))
    spread = float(theirs.max() - theirs.min()) or 1.0
    worst = float((ours - theirs).abs().max()) / spread if ours.shape == theirs.shape else 1.0
    if worst < _SAME:
        return ""
    return f"the converted model differs from onnxruntime by {worst:.2g} of the scores' range"


def _first(answer: Any) -> Any:
    return answer if hasattr(answer, "shape") else answer[0]
