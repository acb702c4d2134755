"""Every model loader audited end to end, every form of output, and what is said of broken ones.

Most files hold the linear model of `system_files`, of which it is known what has to fall.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from system_files import CONFIG, MODEL, attack_rows, audit_json, auditor, only_run, pictures
from torch import nn

from auditor.cells.inputs import load_victim
from auditor.config import load_config
from auditor.usercode.calls import import_source

FACTORY = 'factory = "model.py:make"'


def bands() -> nn.Module:
    """The model of the audit, without a batch or a factory around it."""
    Path("bands_of_ours.py").write_text(MODEL)  # torch.jit.script reads the source
    module: nn.Module = import_source(Path("bands_of_ours.py").absolute()).make()
    return module.eval()


def run(model: str, *, more: str = "") -> tuple[int, str]:
    text = CONFIG.replace(FACTORY, model) + more
    Path("audit.toml").write_text(text)
    status, output = auditor("run", "audit.toml")
    return status, re.sub(r"\s+", " ", output)


def findings(model: int = 0) -> dict[str, str]:
    """Summaries of the model's findings by code."""
    found = audit_json(only_run())["models"][model]["findings"]
    return {one["code"]: " ".join([one["summary"], *one["evidence"]]) for one in found}


def write_exported(name: str, *, batch: int, dynamic: bool) -> None:
    sizes = {"x": {0: torch.export.Dim("batch", min=2, max=16)}} if dynamic else None
    x = torch.rand(batch, 1, 6, 6)
    torch.export.save(torch.export.export(bands(), (x,), dynamic_shapes=sizes), name)


def write_onnx(name: str, module: nn.Module, *, batch: int | str) -> None:
    """By hand: exporting needs a further package."""
    onnx = pytest.importorskip("onnx")
    linear = module.linear
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = [
        numpy_helper.from_array(tensor.detach().numpy(), key)
        for key, tensor in (("w", linear.weight), ("b", linear.bias))
    ]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["z"], transB=1),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "bands",
        [helper.make_tensor_value_info("x", kind, [batch, 1, 6, 6])],
        [helper.make_tensor_value_info("z", kind, [batch, 3])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def write_all() -> None:
    write_exported("any.pt2", batch=4, dynamic=True)
    write_exported("five.pt2", batch=5, dynamic=False)
    torch.jit.save(torch.jit.trace(bands(), torch.rand(2, 1, 6, 6)), "traced.pt")
    torch.jit.save(torch.jit.script(bands()), "scripted.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "model",
    [
        'loader = "torch-export"\npath = "any.pt2"',
        'loader = "torch-export"\npath = "five.pt2"',
        'loader = "torchscript"\npath = "traced.pt"',
        'loader = "torchscript"\npath = "scripted.pt"',
    ],
)
def test_a_saved_program_is_audited_as_its_source_is(here: Path, model: str) -> None:
    write_all()
    status, output = run(model)
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == 24
    assert attack_rows(audit)["fgsm"]["broken"] == 12
    assert "loading" not in findings()


@pytest.mark.parametrize("batch", ["N", 1, 7])
def test_an_onnx_file_is_converted_and_has_a_gradient(here: Path, batch: int | str) -> None:
    pytest.importorskip("onnx2torch")
    write_onnx("bands.onnx", bands(), batch=batch)
    status, output = run('loader = "onnx"\npath = "bands.onnx"')
    assert status == 0, output
    assert attack_rows(audit_json(only_run()))["fgsm"]["broken"] == 12
    assert "loading" not in findings()


def test_without_a_gradient_attacks_that_need_none_are_run(here: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx("bands.onnx", bands(), batch="N")
    square = '\n[[attack]]\nuse = "square"\nqueries = 1000\n'
    status, output = run('loader = "onnx"\npath = "bands.onnx"\nruntime = "onnxruntime"',
                         more=square)  # fmt: skip
    assert status == 3, output  # fgsm was asked for by name
    rows = attack_rows(audit_json(only_run()))
    assert rows["fgsm"]["status"] == "error"
    assert "no gradient" in rows["fgsm"]["reason"]
    assert (rows["square"]["status"], rows["square"]["broken"]) == ("done", 12)
    assert "no-gradient" in findings()


@pytest.mark.slow
def test_a_profile_leaves_out_what_needs_a_gradient(here: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx("bands.onnx", bands(), batch="N")
    head, _, rest = CONFIG.partition("[[attack]]")
    gate = rest[rest.index("[[gate]]") :]
    text = head.replace("check  = []", 'profile = "quick"') + gate
    Path("audit.toml").write_text(
        text.replace(FACTORY, 'loader = "onnx"\npath = "bands.onnx"\nruntime = "onnxruntime"')
    )
    status, output = auditor("run", "audit.toml")
    assert status in (0, 3), output
    audit = audit_json(only_run())
    rows = attack_rows(audit)
    assert rows["pgd"]["status"] == "skipped"
    assert (rows["cascade"]["status"], rows["cascade"]["broken"]) == ("done", 12)
    assert audit["models"][0]["threats"][0]["robust"]["correct"] == 12
    assert not any("gradient" in reason for reason in audit["reasons"])


def test_what_cannot_be_converted_falls_back_and_says_so(here: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnx2torch")
    pytest.importorskip("onnxruntime")
    write_onnx("bands.onnx", bands(), batch="N")
    graph = onnx.load("bands.onnx")
    graph.graph.node[1].output[0] = "raw"
    graph.graph.node.append(onnx.helper.make_node("Det", ["square"], ["det"]))
    graph.graph.node.insert(2, onnx.helper.make_node("Unsqueeze", ["one", "axes"], ["square"]))
    graph.graph.node.insert(2, onnx.helper.make_node("Unsqueeze", ["col", "axes"], ["one"]))
    graph.graph.node.insert(2, onnx.helper.make_node("ReduceSum", ["flat"], ["col"], keepdims=0))
    graph.graph.node.append(onnx.helper.make_node("Sum", ["raw"], ["z"]))
    axes = onnx.numpy_helper.from_array(np.array([0], np.int64), "axes")
    graph.graph.initializer.append(axes)
    onnx.save(graph, "bands.onnx")
    status, output = run('loader = "onnx"\npath = "bands.onnx"')
    assert status == 3, output  # fgsm has no gradient
    assert "onnx2torch cannot convert it" in findings()["loading"]
    status, output = run('loader = "onnx"\npath = "bands.onnx"\nruntime = "torch"')
    assert status == 4
    assert "There is no model with a gradient" in output


def fitted(module: nn.Module, channels: int, scale: int) -> float:
    """Teach it the pictures, write them as data.npz; its accuracy on them."""
    x, y = pictures()
    x = x.repeat(scale, 1).repeat(scale, 2)[:, None].repeat(channels, 1)
    np.savez("data.npz", x=x, y=y)
    pixels, labels = torch.from_numpy(x).float() / 255, torch.from_numpy(y)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    module.train()
    for _ in range(40):
        answer = module(pixels)
        loss = nn.functional.cross_entropy(getattr(answer, "logits", answer), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    settle(module, pixels)
    with torch.no_grad():
        answer = module(pixels)
    return float((getattr(answer, "logits", answer).argmax(1) == labels).sum())


def settle(module: nn.Module, pixels: torch.Tensor) -> None:
    """Evaluation with the statistics of these pixels."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # the mean of what is seen from now on
    with torch.no_grad():
        module.train()(pixels)
    module.eval()


def assert_audited(model: str, correct: float) -> None:
    status, output = run(model)
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == correct
    assert correct > 12, "it learnt nothing, and the weights could be any"
    assert attack_rows(audit)["fgsm"]["status"] == "done"


@pytest.mark.slow
def test_an_architecture_of_torchvision(here: Path) -> None:
    from torchvision import models

    torch.manual_seed(0)
    module = models.shufflenet_v2_x0_5(num_classes=3)
    correct = fitted(module, channels=3, scale=4)
    save_file(module.state_dict(), "w.safetensors")
    assert_audited(
        'loader = "torchvision"\narchitecture = "shufflenet_v2_x0_5"\n'
        'kwargs = { num_classes = 3 }\nweights = "w.safetensors"',
        correct,
    )


@pytest.mark.slow
def test_an_architecture_of_timm(here: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    correct = fitted(module, channels=1, scale=4)
    torch.save({"model": module.state_dict(), "epoch": 3}, "w.pth")
    assert_audited(
        'loader = "timm"\narchitecture = "test_resnet.r160_in1k"\n'
        'kwargs = { num_classes = 3, in_chans = 1 }\ncheckpoint = "w.pth"',
        correct,
    )
    assert "'model' was taken" in findings()["loading"]


def test_a_folder_of_transformers(here: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    config = transformers.ViTConfig(
        image_size=6, patch_size=2, num_channels=1, num_attention_heads=2, num_labels=3, **sizes
    )
    module = transformers.ViTForImageClassification(config)
    correct = fitted(module, channels=1, scale=1)
    module.save_pretrained("vit")
    scale = {"do_normalize": True, "image_mean": [0.0], "image_std": [1.0]}
    Path("vit/preprocessor_config.json").write_text(json.dumps(scale))
    assert_audited('loader = "huggingface"\npath = "vit"', correct)
    assert "normalises with mean [0.0]" in findings()["loading"]
    Path("vit/model.safetensors").rename("vit/pytorch_model.bin")
    status, output = run('loader = "huggingface"\npath = "vit"')
    assert status == 4
    assert "its weights are a pickle" in output


CHECKPOINTS = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"param_groups": []}},
    "parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "both": lambda state: {"net": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
    "averaged": lambda state: {
        "n_averaged": torch.tensor(3), **{f"module.{key}": value for key, value in state.items()}
    },
}  # fmt: skip


@pytest.mark.parametrize("form", CHECKPOINTS)
def test_a_checkpoint_is_read_without_its_wrappers(here: Path, form: str) -> None:
    Path("model.py").write_text(MODEL.replace("copy_(10", "copy_(-10"))  # the weights matter
    torch.save(CHECKPOINTS[form](bands().state_dict()), "w.pth")
    status, output = run(f'{FACTORY}\ncheckpoint = "w.pth"')
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == 24
    assert ("loading" in findings()) == (form != "plain")


def test_of_several_state_dicts_one_is_chosen(here: Path) -> None:
    good, bad = bands().state_dict(), bands().state_dict()
    bad = {key: -value for key, value in bad.items()}
    torch.save({"model": bad, "ema": good}, "w.pth")
    status, output = run(f'{FACTORY}\ncheckpoint = "w.pth"')
    assert status == 4
    assert "several state dicts: model, ema" in output
    status, output = run(f'{FACTORY}\ncheckpoint = "w.pth"\ncheckpoint_key = "ema"')
    assert status == 0, output
    assert audit_json(only_run())["models"][0]["clean"]["correct"] == 24
    status, output = run(f'{FACTORY}\ncheckpoint = "w.pth"\ncheckpoint_key = "best"')
    assert status == 4
    assert "no state dict called 'best'" in output


OUTPUTS = {
    "dict": ('return {"features": x, "logits": z}', 'output_key = "logits"'),
    "tuple": ("return x.flatten(1), z", "output_key = 1"),
    "object": ("return SimpleNamespace(logits=z)", 'output_key = "logits"'),
    "named": ("return Answer(x, z)", 'output_key = "scores"'),
    "map": ("return z[:, :, None, None]", ""),
}


@pytest.mark.parametrize("form", OUTPUTS)
def test_scores_are_found_in_what_the_model_returns(here: Path, form: str) -> None:
    statement, key = OUTPUTS[form]
    write_returning(statement)
    status, output = run(f"{FACTORY}\n{key}")
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == 24
    assert attack_rows(audit)["fgsm"]["broken"] == 12


def write_returning(statement: str) -> None:
    head = """
from collections import namedtuple
from types import SimpleNamespace

Answer = namedtuple("Answer", ["images", "scores"])
"""
    text = MODEL.replace(
        "return self.linear(x.flatten(1))", f"z = self.linear(x.flatten(1))\n        {statement}"
    )
    Path("model.py").write_text(head + text)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", 'write output_key = "logits"'),
        ('output_key = "scores"', "there is no 'scores'"),
        ("output_key = 1.5", "output_key` cannot be 1.5"),
    ],
)
def test_a_missing_or_wrong_output_key_is_told(here: Path, key: str, words: str) -> None:
    write_returning(OUTPUTS["dict"][0])
    status, output = run(f"{FACTORY}\n{key}")
    assert status in (2, 4)
    assert words in output


SINGLE = {
    "logit": ("z[:, 1] - z[:, 0]", "", "logits"),
    "column": ("(z[:, 1] - z[:, 0])[:, None]", "", "logits"),
    "probability": ("torch.sigmoid(z[:, 1] - z[:, 0])", "", "probabilities"),
    "log-probability": (
        "nn.functional.logsigmoid(z[:, 1] - z[:, 0])",
        'outputs = "log-probabilities"',
        "log-probabilities",
    ),
}


@pytest.mark.parametrize("form", SINGLE)
def test_one_number_per_image_is_two_classes(here: Path, form: str) -> None:
    """Of left against middle, with the same epsilon, the same pictures fall."""
    statement, key, _ = SINGLE[form]
    write_returning(f"return {statement}")
    x, y = pictures()
    np.savez("data.npz", x=x[y < 2], y=y[y < 2])
    status, output = run(f"{FACTORY}\n{key}")
    assert status == 0, output
    model = audit_json(only_run())["models"][0]
    assert model["clean"]["correct"] == 16
    assert attack_rows(audit_json(only_run()))["fgsm"]["broken"] == 8
    assert "output-kind" not in findings()


BROKEN = {
    "unknown-loader": ('loader = "torchvison"', 2, 'did you mean "torchvision"?'),
    "unknown-key": ('loader = "torchvision"\narchitecture = "resnet18"\npaht = "x"', 2,
                    "has no key `paht`"),
    "without-path": ('loader = "onnx"', 2, "needs the key `path`"),
    "no-file": ('loader = "onnx"\npath = "no.onnx"', 2, '"no.onnx" does not exist'),
    "both": (f'{FACTORY}\nloader = "onnx"\npath = "data.npz"', 2, "cannot both be given"),
    "two-weights": (f'{FACTORY}\nweights = "w.safetensors"\ncheckpoint = "w.pth"', 2,
                    "cannot both be given"),
    "key-alone": (f'{FACTORY}\ncheckpoint_key = "ema"', 2, "is of no use without"),
    "not-onnx": ('loader = "onnx"\npath = "data.npz"', 4, "expected: an ONNX model"),
    "not-exported": ('loader = "torch-export"\npath = "data.npz"', 4,
                     "expected: a file of torch.export.save"),
    "not-script": ('loader = "torchscript"\npath = "data.npz"', 4,
                   "expected: an archive of torch.jit.save"),
    "architecture": ('loader = "torchvision"\narchitecture = "resnet_50"', 4, "resnet50"),
    "timm": ('loader = "timm"\narchitecture = "resnet_50"', 4, "resnet50"),
    "download": ('loader = "torchvision"\narchitecture = "resnet18"\n'
                 'kwargs = { weights = "DEFAULT" }', 4, "an audit downloads nothing"),
    "kwargs": ('loader = "torchvision"\narchitecture = "resnet18"\nkwargs = { classes = 3 }', 4,
               "unexpected keyword argument"),
    "pickle": (f'{FACTORY}\ncheckpoint = "whole.pth"', 4, "holds more than tensors"),
    "text": (f'{FACTORY}\ncheckpoint = "model.py"', 4, "The file cannot be read"),
    "misfit": (f'{FACTORY}\ncheckpoint = "other.pth"', 4, "do not fit the model"),
    "no-state": (f'{FACTORY}\ncheckpoint = "numbers.pth"', 4, "has no state dict"),
    "not-a-folder": ('loader = "huggingface"\npath = "data.npz"', 2, "is a file"),
    "empty-folder": ('loader = "huggingface"\npath = "empty"', 4, "there is no config.json"),
}  # fmt: skip


class Whole(nn.Module):
    """Only a pickle that runs code can hold it."""


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(here: Path, case: str) -> None:
    model, expected, words = BROKEN[case]
    if case == "timm":
        pytest.importorskip("timm")
    if "onnx" in case:
        pytest.importorskip("onnx")
    if "folder" in case:
        pytest.importorskip("transformers")
    Path("empty").mkdir()
    torch.save(Whole(), "whole.pth")
    torch.save({"a": torch.zeros(2)}, "other.pth")
    torch.save({"epoch": 3}, "numbers.pth")
    Path("w.safetensors").touch()
    Path("w.pth").touch()
    status, output = run(model)
    assert (status, words in output) == (expected, True), output
    assert not list(Path().glob("audits/*"))


@pytest.mark.slow
def test_photographs_of_224_pixels_are_audited_end_to_end(here: Path) -> None:
    """Its last layer is fitted, by least squares, to pictures of the size of a photograph."""
    from torchvision import models

    torch.manual_seed(0)
    module = models.efficientnet_b0(num_classes=3, dropout=0.0, stochastic_depth_prob=0.0)
    x, y = pictures()
    x = x.repeat(37, 1).repeat(37, 2)[:, None].repeat(3, 1)
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert x.shape[1:] == (3, 224, 224)
    np.savez("data.npz", x=x[21:], y=y[21:])  # those of the largest contrast
    pixels = torch.from_numpy(x).float() / 255
    settle(module, pixels)
    features: list[torch.Tensor] = []
    handle = module.classifier[1].register_forward_pre_hook(
        lambda _, args: features.append(args[0])
    )
    with torch.no_grad():
        module(pixels)
        handle.remove()
        seen = nn.functional.pad(features[0].double(), (0, 1), value=1.0)
        wanted = 10 * nn.functional.one_hot(torch.from_numpy(y)).double()
        solution = torch.linalg.pinv(seen) @ wanted
        module.classifier[1].weight.copy_(solution[:-1].T)
        module.classifier[1].bias.copy_(solution[-1])
    save_file(module.state_dict(), "w.safetensors")
    more = '[[attack]]\nuse = "pgd"\nsteps = 2\nrestarts = 1\n'
    status, output = run(
        'loader = "torchvision"\narchitecture = "efficientnet_b0"\n'
        'kwargs = { num_classes = 3 }\nweights = "w.safetensors"',
        more=f"\n{more}",
    )
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == 3
    rows = attack_rows(audit)
    assert {row["status"] for row in rows.values()} == {"done"}
    assert rows["pgd"]["broken"] > 0


def test_weights_beside_an_onnx_graph_belong_to_the_fingerprint(here: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    write_onnx("bands.onnx", bands(), batch="N")
    graph = onnx.load("bands.onnx")
    onnx.save_model(
        graph, "bands.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    lines = 'loader = "onnx"\npath = "bands.onnx"\nruntime = "onnxruntime"'
    text = Path("audit.toml").read_text(encoding="utf-8").replace(FACTORY, lines)
    Path("audit.toml").write_text(text, encoding="utf-8")
    config, registry = load_config(Path("audit.toml"))

    def fingerprint() -> str:
        return load_victim(config.models[0], torch.device("cpu"), registry).victim.fingerprint

    before = fingerprint()
    assert fingerprint() == before
    content = bytearray(Path("weights.bin").read_bytes())
    content[3] ^= 1
    Path("weights.bin").write_bytes(content)
    assert fingerprint() != before
