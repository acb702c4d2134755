"""Checkpoints and models whose tensors are sparse, quantised, without values, or not yet made."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from auditor.errors import ExitStatus, LoadError
from auditor.subject.loading import Factory, Weights, fingerprint, load_module
from auditor.subject.victim import Victim
from auditor.subject.weights import load_checkpoint

DENSE = torch.eye(3)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch means to drop such tensors one day
    ODD = {
        "sparse": DENSE.to_sparse(),
        "quantised": torch.quantize_per_tensor(DENSE, 0.1, 0, torch.qint8),
        "meta": torch.empty(3, 3, device="meta"),
    }
    OTHER = {
        "sparse": (2 * DENSE).to_sparse(),
        "quantised": torch.quantize_per_tensor(2 * DENSE, 0.1, 0, torch.qint8),
    }


def linear(weight: torch.Tensor = DENSE) -> nn.Module:
    module = nn.Module()
    module.register_buffer("weight", weight)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_a_checkpoint_of_another_kind_of_tensors_names_the_key(kind, tmp_path):
    torch.save({"weight": ODD[kind]}, tmp_path / "odd.pth")
    with pytest.raises(LoadError) as caught:
        load_checkpoint(linear(), tmp_path / "odd.pth", None, "model 'm'")
    assert f"of another kind: weight is {kind} instead of dense" in caught.value.what
    assert caught.value.where == "model 'm', checkpoint odd.pth"
    assert caught.value.exit_status == ExitStatus.LOAD


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["sparse", "quantised"])
def test_a_model_of_such_tensors_takes_its_own(kind, tmp_path):
    torch.save({"weight": ODD[kind]}, tmp_path / "own.pth")
    module = linear(OTHER[kind])
    before = fingerprint(module, ())
    load_checkpoint(module, tmp_path / "own.pth", None, "model 'm'")
    expected = ODD[kind].to_dense() if kind == "sparse" else ODD[kind].dequantize()
    found = module.weight.to_dense() if kind == "sparse" else module.weight.dequantize()
    assert torch.equal(found, expected)
    assert fingerprint(module, ()) != before


def made(tmp_path, text: str) -> tuple[nn.Module, tuple[str, ...]]:
    path = tmp_path / "model.py"
    path.write_text("import torch\nfrom torch import nn\n\n\ndef make():\n    return " + text)
    return load_module("m", Factory("model.py:make", path, "make"), {}, Weights())


def test_a_model_without_values_is_told(tmp_path):
    with pytest.raises(LoadError, match="no values in weight, bias: they are on the device meta"):
        made(tmp_path, 'nn.Linear(2, 3, device="meta")')


def test_a_mask_of_negative_infinity_is_no_diverged_weight(tmp_path):
    mask = "nn.Sequential()\n    module.register_buffer('mask', torch.full((2,), VALUE))"
    for value, refused in (("-torch.inf", False), ("torch.inf", True), ("torch.nan", True)):
        text = f"filled()\n\n\ndef filled():\n    module = {mask}\n    return module\n"
        folder = tmp_path / value
        folder.mkdir()
        if refused:
            with pytest.raises(LoadError, match="NaN or infinity in mask"):
                made(folder, text.replace("VALUE", value))
        else:
            made(folder, text.replace("VALUE", value))


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_still_to_be_made_are_told_and_frozen(tmp_path):
    module, remarks = made(tmp_path, "nn.Sequential(nn.Flatten(), nn.LazyLinear(3))")
    assert "left 1.weight, 1.bias without values" in remarks[0]
    victim = Victim("m", module, fingerprint=fingerprint(module, ()))
    assert victim.parameters == 0
    victim.logits(torch.rand(2, 1, 2, 2))
    assert victim.parameters == 15
    assert not any(parameter.requires_grad for parameter in module.parameters())
