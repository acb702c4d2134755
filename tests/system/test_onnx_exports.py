"""ONNX files as torch's own exporter writes them, in opsets that onnx2torch does not know."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from system_files import CONFIG, attack_rows, audit_json, auditor, only_run
from torch import nn
from torch.nn import functional as F

from auditor.registry import load_registry

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2torch")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Bands(nn.Module):
    """The class of the audit's pictures, by operators that changed after opset 17.

    GELU rises where the means are, so that what falls is what falls of the linear model.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = 10 * x.view(-1, 6, 3, 2).mean((1, 3))  # ReduceMean, and Reshape with allowzero
        left, *others = means.split(1, dim=1)  # Split
        return F.gelu(torch.cat([left, *others], 1))  # Gelu is of opset 20


class Mixture(nn.Module):
    """Layers of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.groups, self.instance = nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)
        self.batch, self.layer = nn.BatchNorm2d(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.interpolate((x - 0.5) / 0.25, size=(12, 12), mode="bilinear")
        x = F.gelu(self.groups(self.first(x)), approximate="tanh")
        x = F.mish(self.instance(x)) + F.silu(self.batch(x))
        x = F.avg_pool2d(F.max_pool2d(x, 2), 2)
        tokens = self.layer(x.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(tokens.amax(1)).log_softmax(1)


class Smoothed(Bands):
    """A resize with antialiasing, which has no older version."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = F.interpolate(x, size=(3, 6), mode="bilinear", antialias=True)
        return super().forward(F.interpolate(small, size=(6, 6)))


def export(model: nn.Module, x: torch.Tensor, name: str, opset: int | None) -> None:
    """By the exporter's own default where `opset` is None."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        model.eval(), (x,), name, dynamo=True, verbose=False, opset_version=opset,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
    )  # fmt: skip


def audited(name: str, more: str = "") -> tuple[int, str]:
    lines = f'loader = "onnx"\npath = "{name}"\n{more}'
    text = CONFIG.replace('factory = "model.py:make"', lines)
    Path("audit.toml").write_text(text, encoding="utf-8")
    return auditor("run", "audit.toml")


def findings() -> dict[str, str]:
    return {one["code"]: one["summary"] for one in audit_json(only_run())["models"][0]["findings"]}


@pytest.mark.parametrize("opset", [18, None, 23])
def test_an_export_has_its_gradient_and_is_told(here: Path, opset: int | None) -> None:
    export(Bands(), torch.rand(2, 1, 6, 6), "bands.onnx", opset)
    written = onnx.load("bands.onnx").opset_import[0].version
    assert written == opset or (opset is None and written > 17)
    status, said = audited("bands.onnx")
    assert status == 0, said
    assert attack_rows(audit_json(only_run()))["fgsm"]["broken"] == 12
    assert "no-gradient" not in findings()
    assert findings()["loading"] == (
        f"The graph of opset {written} was rewritten in opset 17 and converted to torch. "
        "On 4 pictures its answers are those of onnxruntime, to 0.1% of their range."
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # of onnx2torch, about its own slices
@pytest.mark.parametrize("opset", [18, 20, 23])
def test_answers_and_gradients_are_the_exported_models(tmp_path: Path, opset: int) -> None:
    torch.manual_seed(0)
    model, x = Mixture().eval(), torch.rand(3, 3, 8, 8)
    path = str(tmp_path / "mixture.onnx")
    export(model, x[:2], path, opset)
    spec = load_registry().models["onnx"]
    converted = spec.build({"path": path, "runtime": "torch"}).load()
    assert f"opset {opset} was rewritten" in converted.remark
    slopes = []
    for one in (model, converted):
        leaf = x.clone().requires_grad_()
        scores = one(leaf)
        np.testing.assert_allclose(scores.detach(), model(x).detach(), atol=1e-5)
        slopes.append(torch.autograd.grad(scores[:, 1].sum(), leaf)[0])
    assert slopes[0].abs().max() > 1e-3
    np.testing.assert_allclose(slopes[1], slopes[0], atol=1e-6 + 1e-4 * slopes[0].abs().max())


def test_without_onnxruntime_the_reference_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "bands.onnx")
    export(Bands(), torch.rand(2, 1, 6, 6), path, 20)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    converted = load_registry().models["onnx"].build({"path": path}).load()
    assert "On 4 pictures its answers are those of ONNX's reference evaluator" in converted.remark


def test_a_conversion_that_answers_otherwise_is_not_used(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(Bands(), torch.rand(2, 1, 6, 6), "bands.onnx", 20)
    convert = __import__("onnx2torch").convert
    wrong = nn.Linear(3, 3)
    monkeypatch.setattr("onnx2torch.convert", lambda graph: nn.Sequential(convert(graph), wrong))
    status, said = audited("bands.onnx")
    assert status == 3, said  # fgsm has no gradient
    assert findings()["loading"].startswith(
        "onnxruntime runs the model, without a gradient: the converted model differs from "
        "onnxruntime by"
    )
    status, said = audited("bands.onnx", 'runtime = "torch"')
    assert status == 4
    assert "There is no model with a gradient: the converted model differs" in " ".join(
        said.split()
    )


def test_what_has_no_older_version_is_audited_without_a_gradient_and_told(here: Path) -> None:
    export(Smoothed(), torch.rand(2, 1, 6, 6), "bands.onnx", 20)
    status, said = audited("bands.onnx")
    assert status == 3, said
    assert "onnx2torch cannot convert it" in findings()["loading"]
    assert "no-gradient" in findings()
