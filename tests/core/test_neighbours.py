"""What a file imports from beside it is its own, whatever other files' modules are called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auditor.errors import LoadError
from auditor.registry import load_registry
from auditor.subject.loading import Factory, Weights, load_module
from auditor.usercode.calls import call_factory

MODEL = """
import importlib
import os
import pickle
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "library"))
import deep
import layers
from importlib import import_module


def make():
    import lazy

    return [layers.V, deep.V, lazy.V, import_module("layers").V, importlib.import_module("lazy").V]


def later():
    def forward():
        import only_later
        from layers import V

        return V, only_later.V, pickle.loads(b"clayers\\nV\\n.")

    return forward


def unpickled():
    return pickle.loads(b"clayers\\nNet\\n.") is layers.Net


def missing():
    from layers import nothing


def missing_part():
    import layers.parts
"""
NET = """
from .parts import V
from net.parts import V as absolute
import beside

def make():
    return V, absolute, beside.V
"""


def write(folder: Path, **texts: str) -> Path:
    """Python files; a double underscore in a name stands for a folder."""
    for name, text in texts.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def repository(folder: Path, value: int) -> Path:
    return write(
        folder, model=MODEL, layers=f"V = {value}\nclass Net: ...\n", lazy=f"V = {value + 10}\n",
        library__deep=f"import layers\nV = layers.V + {value + 100}\n",
        only_later=f"V = {value + 1000}\n",
    )  # fmt: skip


def called(file: Path, name: str = "make"):
    return call_factory(f"{file}:{name}", {}, "here")


def test_two_files_with_neighbours_of_one_name_have_their_own_now_and_later(tmp_path):
    files = [repository(tmp_path / f"repo_{n}", n) / "model.py" for n in (1, 2)]
    path, modules = list(sys.path), set(sys.modules)
    assert [called(file) for file in files] == [[1, 102, 11, 1, 11], [2, 104, 12, 2, 12]]
    later = [called(file, "later") for file in files]
    assert [forward() for forward in later] == [(1, 1001, 1), (2, 1002, 2)]
    assert [forward() for forward in reversed(later)] == [(2, 1002, 2), (1, 1001, 1)]
    assert all(called(file, "unpickled") for file in files)
    assert sys.path == path
    new = set(sys.modules) - modules
    assert not {name for name in new if not name.startswith("_audited_")} & {
        "layers", "lazy", "deep", "library", "only_later", "model"
    }  # fmt: skip


@pytest.mark.parametrize(("name", "words"), [
    ("missing", "cannot import name 'nothing' from 'layers'"),
    ("missing_part", "No module named 'layers.parts'"),
])  # fmt: skip
def test_a_missing_neighbour_is_called_what_its_author_calls_it(name, words, tmp_path):
    file = repository(tmp_path, 1) / "model.py"
    with pytest.raises(LoadError) as raised:
        called(file, name)
    assert words in str(raised.value)
    assert "_audited_" not in str(raised.value)


@pytest.mark.parametrize("init", [True, False])
def test_a_file_of_a_package_imports_relatively_absolutely_and_from_beside_it(init, tmp_path):
    for n in (1, 2):
        folder = write(tmp_path / f"repo_{n}", net__model=NET, net__parts=f"V = {n}\n",
                       net__beside=f"V = {-n}\n")  # fmt: skip
        if init:
            write(folder, net____init__="")
        assert called(folder / "net" / "model.py") == (n, n, -n)


def test_two_models_of_one_file_share_no_module_and_a_model_shares_them_with_its_stand_in(tmp_path):
    file = write(tmp_path, model="from torch import nn\nclass Net(nn.Module): ...\n"
                 "def make(): return Net()\n",
                 stand_in="from model import Net\n"
                 "def make(model): return model if isinstance(model, Net) else None\n",
                 ) / "model.py"  # fmt: skip
    one, two = (
        load_module(name, Factory("f", file, "make"), {}, Weights())[0] for name in ("one", "two")
    )
    assert type(one) is not type(two)
    from auditor.subject.loading import load_stand_in

    assert load_stand_in("one", Factory("f", tmp_path / "stand_in.py", "make"), one) is one


def test_a_folder_of_the_name_of_an_installed_package_is_no_neighbour(tmp_path):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "torch").mkdir()
    write(tmp_path, torch____init__="", model="import scipy, torch\n"
          "def make(): return scipy.__version__, torch.Tensor\n")  # fmt: skip
    import scipy
    import torch

    assert called(tmp_path / "model.py") == (scipy.__version__, torch.Tensor)


def test_plugins_have_neighbours_of_their_own(tmp_path):
    plugin = """
from helper import NAME
from auditor.api import hookimpl, section

@section(name=NAME, title="t")
def one(result):
    from helper_later import TEXT
    return TEXT

@hookimpl
def auditor_sections():
    return [one]
"""
    files = [
        write(tmp_path / name, plugin=plugin, helper=f"NAME = 'of-{name}'\n",
              helper_later=f"TEXT = '{name}'\n") / "plugin.py"
        for name in ("a", "b")
    ]  # fmt: skip
    registry = load_registry(files)
    assert not registry.broken
    assert [registry.sections[f"of-{name}"].render(None) for name in "ab"] == ["a", "b"]
