"""`auditor init`: what it writes is valid and runs; where it cannot look, it writes nothing."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from system_files import CLASSES, MODEL, audit_json, auditor, only_run, pictures

from auditor.draft.budgets import customary
from auditor.draft.text import toml
from auditor.usercode.calls import import_source

OPTIONS = ("--model", "model.py:make", "--data", "data.npz")


@pytest.fixture
def bare(here: Path) -> Path:
    """The working directory with model.py and data.npz, and without audit.toml."""
    Path("audit.toml").unlink()
    return here


def init(*arguments: str) -> tuple[int, str]:
    return auditor("init", *arguments)


def written(path: str = "audit.toml") -> str:
    return Path(path).read_text(encoding="utf-8")


def refused(said: tuple[int, str], status: int, *words: str) -> None:
    assert said[0] == status, said[1]
    for word in words:
        assert word in said[1]
    assert not Path("audit.toml").exists()
    assert not list(Path().glob(".*.tmp"))


# --- Round trips


@pytest.mark.slow
def test_init_validate_run(bare: Path) -> None:
    status, said = init(*OPTIONS)
    assert status == 0, said
    assert "111 parameters, 3 classes, returns logits" in said
    assert auditor("validate", "audit.toml")[0] == 0
    data = tomllib.loads(written())
    assert data["model"] == [{"name": "model", "factory": "model.py:make", "outputs": "logits"}]
    assert data["data"] == {"adapter": "npz", "path": "data.npz"}
    assert "# expected_accuracy = 1" in written()
    foretold = "it needs 50 correctly classified images, and 24 of 24 are."
    assert foretold in said
    assert "remedy: audit a larger set, of 65 images or more" in said
    assert foretold in " ".join(written().replace("\n# ", " ").split())
    quick = ("--set", "profile=quick", "--set", "check=[]", "--set", "report.formats=[]")
    status, said = auditor("run", "audit.toml", *quick)
    assert status in (0, 1, 3), said
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["accuracy"] == 1
    assert [threat["epsilon_text"] for threat in audit["models"][0]["threats"]] == ["8/255", "0.1"]
    assert "convention" in audit["models"][0]["threats"][0]["rationale"]


def test_every_commented_key_may_be_uncommented(bare: Path) -> None:
    assert init(*OPTIONS)[0] == 0
    Path("my_attack.py").write_text(written("model.py"), encoding="utf-8")
    kept = []
    for line in written().splitlines():
        key = line.removeprefix("# ").partition(" ")[0]
        free = key in ("precision", "expected_accuracy", "metric", "at_least", "reviewers")
        kept.append(line.removeprefix("# ") if free or line == "# [[gate]]" else line)
    Path("audit.toml").write_text("\n".join(kept), encoding="utf-8")
    status, said = auditor("validate", "audit.toml")
    assert status == 0, said
    assert "2 gates" in said or "3 gates" in said


def test_probabilities_are_seen(bare: Path) -> None:
    source = MODEL.replace("self.linear(x.flatten(1))", "self.linear(x.flatten(1)).softmax(1)")
    Path("model.py").write_text(source, encoding="utf-8")
    status, said = init(*OPTIONS)
    assert (status, "returns probabilities" in said) == (0, True)
    assert tomllib.loads(written())["model"][0]["outputs"] == "probabilities"


def test_a_model_of_another_range_is_told_with_what_to_write(bare: Path) -> None:
    source = MODEL.replace(
        "return self.linear(x.flatten(1))",
        "z = self.linear(x.flatten(1))\n"
        "        return z * (x.amax() >= 2) + z.new_tensor([2.0, 0, 0]) * (x.amax() < 2)",
    )
    Path("model.py").write_text(source, encoding="utf-8")
    status, said = init(*OPTIONS)
    assert status == 0
    assert "(input-range)" in said
    assert "normalize" not in tomllib.loads(written())["model"][0]
    assert "{ mean = [0], std = [0.00392157] }" in " ".join(written().replace("\n# ", " ").split())


def test_weights_arguments_and_another_directory(bare: Path) -> None:
    Path("model.py").write_text(
        MODEL.replace("def make():", "def make(width):\n    assert width == 3"), encoding="utf-8"
    )
    Path("sub dir").mkdir()
    output = "sub dir/my.toml"
    status, said = init(*OPTIONS, "--set", "model.kwargs.width=3", "--output", output)
    assert status == 0, said
    model = tomllib.loads(written(output))["model"][0]
    assert (model["factory"], model["kwargs"]) == ("../model.py:make", {"width": 3})
    assert auditor("validate", output)[0] == 0


def test_programs_and_checkpoints_are_known_by_their_ending(bare: Path) -> None:
    model = import_source(Path("model.py").absolute()).make().eval()
    program = torch.export.export(model, (torch.rand(2, 1, 6, 6),))
    torch.export.save(program, "bands.pt2")
    assert init("--model", "bands.pt2", "--data", "data.npz")[0] == 0
    wanted = {"name": "bands", "loader": "torch-export", "path": "bands.pt2", "outputs": "logits"}
    assert tomllib.loads(written())["model"] == [wanted]
    assert auditor("validate", "audit.toml")[0] == 0
    torch.save({"state_dict": model.state_dict()}, "best.pth")
    assert init("--force", "--weights", "best.pth", *OPTIONS)[0] == 0
    assert tomllib.loads(written())["model"][0]["checkpoint"] == "best.pth"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_known_by_what_is_in_the_archive(bare: Path) -> None:
    """And a file of weights with the same ending is told from it."""
    model = import_source(Path("model.py").absolute()).make().eval()
    torch.jit.save(torch.jit.trace(model, torch.rand(2, 1, 6, 6)), "program.pt")
    torch.jit.save(torch.jit.trace(model, torch.rand(2, 1, 6, 6)), "no-ending")
    for name in ("program.pt", "no-ending"):
        status, said = init("--force", "--model", name, "--data", "data.npz")
        assert status == 0, said
        (table,) = tomllib.loads(written())["model"]
        assert (table["loader"], table["path"]) == ("torchscript", name)
        assert auditor("validate", "audit.toml")[0] == 0
    Path("audit.toml").unlink()
    torch.save(model.state_dict(), "weights.pt")
    refused(
        init("--model", "weights.pt", "--data", "data.npz"), 2,
        "weights.pt holds weights, and not the model", "--model my_model.py:make --weights weights",
    )  # fmt: skip
    refused(
        init("--model", "other.pt", "--data", "data.npz"), 2, 'The file "other.pt" does not exist'
    )


@pytest.mark.parametrize(
    ("library", "architecture"), [("torchvision", "squeezenet1_1"), ("timm", "test_resnet")]
)
def test_architectures_of_libraries(bare: Path, library: str, architecture: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    np.savez("colour.npz", x=x, y=np.arange(60) % 3)
    if library == "timm":
        model = pytest.importorskip("timm").create_model(architecture, num_classes=3)
    else:
        model = importlib.import_module("torchvision.models").get_model(architecture, num_classes=3)
    Path("sub").mkdir()
    torch.save(model.state_dict(), "trained.pth")
    options = (
        "--model", f"{library}:{architecture}", "--data", "colour.npz", "--output", "sub/a.toml",
    )  # fmt: skip
    with_weights = (*options, "--weights", "trained.pth")
    status, said = init(*with_weights, "--set", "model.kwargs.num_classes=3")
    assert status == 0, said
    assert "3 classes, returns logits" in said
    (table,) = tomllib.loads(written("sub/a.toml"))["model"]
    assert table == {
        "name": architecture, "loader": library, "architecture": architecture,
        "checkpoint": "../trained.pth", "kwargs": {"num_classes": 3}, "outputs": "logits",
    }  # fmt: skip
    assert "# normalize = { mean = [0.485, 0.456, 0.406]" in written("sub/a.toml")
    assert auditor("validate", "sub/a.toml")[0] == 0
    Path("sub/a.toml").unlink()
    refused(init(*options), 2, f"{architecture} of {library} is an architecture without weights")
    refused(init(*with_weights), 4, "The weights do not fit the model", "num_classes")
    # A module of that name beside the file comes first.
    Path("sub", f"{library}.py").write_text(written("model.py"), encoding="utf-8")
    made = ("--model", f"{library}:make", "--data", "data.npz", "--output", "sub/a.toml")
    status, said = init(*made)
    assert status == 0, said
    assert tomllib.loads(written("sub/a.toml"))["model"][0]["factory"] == f"{library}:make"


def test_large_sets_are_drawn_from(bare: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=np.tile(x, (50, 1, 1)), y=np.tile(y, 50))
    status, said = init(*OPTIONS)
    assert status == 0
    assert tomllib.loads(written())["data"]["samples"] == 500
    assert "1200 images" in written()
    assert "inconclusive" not in said


def test_a_draw_with_too_few_correct_images_is_told_with_one_that_is_enough(bare: Path) -> None:
    """Of six draws of the picture of each class, five have another label: a sixth is correct."""
    x, y = pictures()
    np.savez(
        "data.npz", x=np.tile(x, (50, 1, 1)), y=(np.tile(y, 50) + (np.arange(1200) % 6 > 0)) % 3
    )
    status, said = init(*OPTIONS, "--set", "data.samples=60", "--yes")
    assert status == 0, said
    low = re.search(r"it needs 50 correctly classified images, and (\d+) of 60 are", said)
    assert low is not None
    assert 4 <= int(low[1]) <= 16
    enough = re.search(r"remedy: draw more images, with \[data\] samples = (\d+)", said)
    assert enough is not None
    assert 250 <= int(enough[1]) <= 800


# --- What is refused


def test_a_file_that_exists_is_left_as_it_is(here: Path) -> None:
    before = written()
    status, said = init(*OPTIONS)
    assert (status, "--force" in said) == (2, True)
    assert written() == before
    assert init(*OPTIONS, "--force")[0] == 0
    assert written() != before


def test_labels_of_another_task(bare: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=x, y=y + CLASSES)
    refused(init(*OPTIONS), 4, "The model has 3 classes and the data has the label 5.")


def test_pixels_of_another_range(bare: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=x.astype(np.float32), y=y)
    refused(init(*OPTIONS), 4, "x holds pixels from", "divide x by 255")


def test_a_model_that_raises(bare: Path) -> None:
    Path("model.py").write_text("def make():\n    raise KeyError('checkpoint')\n", "utf-8")
    refused(init(*OPTIONS), 4, "KeyError", "model.py:2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "modle.py:make", "--data", "data.npz"), ('"model.py"?', "--model modle.py")),
        (("--model", "model.py", "--data", "data.npz"), ('"model.py:NAME"',)),
        (("--model", "model.py:make", "--data", "dta.npz"), ('did you mean "data.npz"', "--data")),
        (("--model", "model.py:make", "--data", "data.csv"), ("--adapter with one of: ", "npz")),
        ((*OPTIONS, "--adapter", "npy"), ('did you mean "npz"', "--adapter npy")),
        ((*OPTIONS, "--weights", "w.pt"), ("a file of torch.save", "--weights w.pt")),
        ((*OPTIONS, "--set", "model.weights=w.pt"), ("pickle", "--set model.weights")),
        ((*OPTIONS, "--set", "run.seed=3"), ("drafts this itself", "--set run.seed=3")),
        ((*OPTIONS, "--output", "no/such/audit.toml"), ("no directory",)),
        (("--data", "data.npz"), ("--model is needed", "--no-look")),
        ((), ("--model and --data are needed",)),
    ],
)  # fmt: skip
def test_wrong_options(arguments: tuple[str, ...], words: tuple[str, ...], bare: Path) -> None:
    refused(init(*arguments), 2, *words)


def test_no_look_writes_a_template(bare: Path) -> None:
    status, said = init("--no-look", "--model", "later.py:make")
    assert (status, "template" in said) == (0, True)
    data = tomllib.loads(written())
    assert data["model"][0]["factory"] == "later.py:make"
    assert "To be changed" in written()
    assert "later.py" in auditor("validate", "audit.toml")[1]


# --- On a terminal


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_on_a_terminal_it_asks(bare: Path) -> None:
    controller, terminal = os.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-m", "auditor", "init"],
        stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.write(controller, b"modle.py:make\nmodel.py:make\n\ndata.npz\n")
    said, _ = asked.communicate(timeout=120)
    os.close(controller)
    os.close(terminal)
    assert asked.returncode == 0, said
    assert "There is no 'modle.py' here." in said
    assert tomllib.loads(written())["data"]["path"] == "data.npz"


# --- Budgets and values


@pytest.mark.parametrize(
    ("shape", "between", "epsilon"),
    [
        ((1, 28, 28), 0.1, 0.3),
        ((1, 28, 28), 0.5, 0.1),
        ((3, 32, 32), 0.9, "8/255"),
        ((3, 224, 224), 0.9, "4/255"),
        ((1, 224, 224), 0.1, "4/255"),
    ],
)
def test_budgets(shape: tuple[int, int, int], between: float, epsilon: object) -> None:
    assert customary(shape, between).linf[-1] == epsilon


def test_values_are_read_back() -> None:
    value = {
        "plain": 'a "quote", a \\ and \x7f',
        "with space": [1, 2.5, True, {"x": "ε"}],
        "empty": {},
        "nested": {"a": {"b": [False, -1e-9]}},
    }
    assert tomllib.loads(f"value = {toml(value)}")["value"] == value
