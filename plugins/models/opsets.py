"""ONNX graphs of newer opsets, as graphs of the newest that onnx2torch knows throughout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: onnx2torch has no converters for what later opsets changed: reductions, pooling, shapes.
KNOWN = 17

#: Later opsets only gave these more types, and Split a count that its outputs tell as well.
_UNCHANGED = ("ConstantOfShape", "Split")
_HIDDEN = "auditor.unchanged"


def opset(model: Any) -> int:
    """The version of ONNX's own operators that a model is written in."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
               default=KNOWN)  # fmt: skip


def lowered(model: Any) -> Any:
    """The same model in opset 17, by the converter and the inliner of the package onnx.

    Operators that came later are replaced by what their definition says they compute.

    Raises:
        Exception: an operator has neither an older version nor such a definition.
    """
    from onnx import inliner, version_converter

    later = [*_functions(model), *(("", name) for name in _later(model))]
    if later:
        model = inliner.inline_selected_functions(model, later, inline_schema_functions=True)
    hidden = model.opset_import.add(domain=_HIDDEN, version=1)
    _rename(model, "", _HIDDEN)
    model = version_converter.convert_version(model, KNOWN)
    _rename(model, _HIDDEN, "")
    model.opset_import.remove(hidden)
    _without_casts_to_the_like(model)
    _without_allowzero(model)
    return model


def _functions(model: Any) -> list[tuple[str, str]]:
    return [(one.domain, one.name) for one in model.functions]


def _later(model: Any) -> Iterator[str]:
    """The operators that opset 17 did not have."""
    from onnx import defs

    for name in {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")}:
        try:
            defs.get_schema(name, KNOWN, "")
        except defs.SchemaError:
            yield name


def _rename(model: Any, domain: str, new: str) -> None:
    """Hide what the converter has no way back for, or bring it back."""
    for node in model.graph.node:
        if node.op_type in _UNCHANGED and node.domain == domain:
            node.domain = new
            _drop(node, "num_outputs")


def _without_casts_to_the_like(model: Any) -> None:
    """CastLike, which onnx2torch does not know, as the Cast that it is here."""
    from onnx import helper, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    known = [*graph.input, *graph.output, *graph.value_info]
    types = {one.name: one.type.tensor_type.elem_type for one in known}
    types.update({one.name: one.data_type for one in graph.initializer})
    for node in model.graph.node:
        if node.op_type == "CastLike" and types.get(node.input[1]):
            cast = helper.make_node("Cast", node.input[:1], node.output, to=types[node.input[1]])
            node.CopyFrom(cast)


def _without_allowzero(model: Any) -> None:
    """Reshape without what says that a size of 0 is meant, which no image has.

    torch's exporter writes it everywhere, and onnx2torch refuses it.
    """
    for node in model.graph.node:
        if node.op_type == "Reshape":
            _drop(node, "allowzero")


def _drop(node: Any, name: str) -> None:
    for one in [one for one in node.attribute if one.name == name]:
        node.attribute.remove(one)
