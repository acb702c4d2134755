"""ONNX files."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from auditor.api import FilePath, LoadError, import_extra, model_loader, param

from .agreement import compared, first_line
from .opsets import KNOWN, lowered, opset

_WHERE = 'loader = "onnx"'


@model_loader(name="onnx")
@dataclass(frozen=True, kw_only=True)
class Onnx:
    """An ONNX file, converted to torch by onnx2torch so that it has a gradient.

    A graph of a newer opset than onnx2torch knows is rewritten in opset 17 first, which is told.
    The converted model has to answer as onnxruntime does, or without it as ONNX's reference does.
    Where it does not, or cannot be converted, onnxruntime answers, there is no gradient, and only
    attacks that need none are run.
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
            inner, how = _converted(graph)
            module = AnyBatch(inner, least, most)
            told = compared(module, self.path, _shape(graph))
        except LoadError:
            raise
        except Exception as error:  # a converter may raise anything
            why = f"onnx2torch cannot convert it ({first_line(error)})"
        else:
            if not told.difference:
                module.remark = f"{how} {told.sentence}" if how or not told.done else ""
                return module
            why = told.difference
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


def _converted(graph: Any) -> tuple[Any, str]:
    """The graph as a torch module, and what was done to it first, in a sentence."""
    converter = import_extra("onnx2torch", "onnx", _WHERE)
    try:
        return converter.convert(copy.deepcopy(graph)), ""
    except Exception:  # whatever a converter raises
        version = opset(graph)
        if version <= KNOWN:
            raise
    how = f"The graph of opset {version} was rewritten in opset {KNOWN} and converted to torch."
    return converter.convert(lowered(copy.deepcopy(graph))), how


def _runtime(path: str) -> Any:
    import_extra("onnxruntime", "onnx", _WHERE)
    from .runtime import OnnxRuntime

    return OnnxRuntime(path)
