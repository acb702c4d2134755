"""Models from a factory and a weights file, or a sentence on what is wrong with them."""

from __future__ import annotations

import random
import sys

import pytest
import torch
from safetensors.torch import save_file

from auditor.cells import tuning
from auditor.cells.tuning import choose_device, measure_batch_size, measure_threads
from auditor.errors import LoadError
from auditor.subject.loading import Factory, Weights, fingerprint, load_module
from auditor.subject.victim import Victim

SOURCE = """
import torch
from torch import nn


def net(width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(9, width), nn.ReLU(), nn.Linear(width, 3))


def broken():
    raise ValueError("no such checkpoint")


def leaves():
    raise SystemExit(0)


def a_class():
    return nn.Linear


def state_dict():
    return net().state_dict()


value = 3
"""


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / f"models_{random.randrange(10**9)}.py"
    path.write_text(SOURCE)

    def of(name: str) -> Factory:
        return Factory(f"models.py:{name}", path, name)

    return of


def load(factory: Factory, weights=None, **kwargs):
    return load_module("m", factory, kwargs, Weights(weights))[0]


def test_a_factory_is_called_with_its_arguments(factory):
    assert load(factory("net"), width=7)[1].out_features == 7
    assert sum(name.startswith("_audited_models") for name in sys.modules)


def test_a_factory_may_be_in_an_importable_module():
    module, _ = load_module(
        "m", Factory("torch.nn:Identity", "torch.nn", "Identity"), {}, Weights()
    )
    assert isinstance(module, torch.nn.Identity)


def test_a_factorys_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_a_model.py").write_text("classes = 5\n")
    path = tmp_path / "model_with_a_neighbour.py"
    path.write_text(
        "from torch import nn\nimport neighbour_of_a_model\n"
        "def net():\n    return nn.Linear(2, neighbour_of_a_model.classes)\n"
    )
    before = list(sys.path)
    assert load(Factory("f", path, "net")).out_features == 5
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "ValueError: no such checkpoint"),
        ("leaves", "SystemExit"),
        ("a_class", "returned the class"),
        ("state_dict", "returned"),
        ("value", "no function called 'value'"),
        ("missing", "net"),
    ],
)
def test_a_factory_that_gives_no_model_is_an_error_with_a_remedy(factory, name, words):
    with pytest.raises(LoadError) as raised:
        load(factory(name))
    assert words in str(raised.value)
    assert raised.value.remedy
    assert "'m'" in raised.value.where


def test_an_error_of_the_users_code_says_where_it_came_from(factory):
    with pytest.raises(LoadError) as raised:
        load(factory("broken"))
    line = SOURCE.splitlines().index('    raise ValueError("no such checkpoint")') + 1
    assert f".py:{line}" in raised.value.where


def test_wrong_arguments_and_a_broken_file_are_errors_too(factory, tmp_path):
    with pytest.raises(LoadError, match="unexpected keyword argument"):
        load(factory("net"), widht=3)
    bad = tmp_path / "bad_syntax.py"
    bad.write_text("def net(:\n")
    with pytest.raises(LoadError, match="SyntaxError"):
        load(Factory("bad.py:net", bad, "net"))
    with pytest.raises(LoadError, match="No module named"):
        load(Factory("no_such:net", "no_such_module_here", "net"))


def weights_of(factory, **changes) -> dict[str, torch.Tensor]:
    return {**load(factory("net")).state_dict(), **changes}


def test_weights_are_loaded(factory, tmp_path):
    state = {key: torch.randn_like(value) for key, value in weights_of(factory).items()}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load(factory("net"), tmp_path / "w.safetensors").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"1.weight": None}, "missing: 1.weight"),
        ({"extra": torch.zeros(2)}, "unexpected: extra"),
        ({"1.weight": torch.zeros(4, 8)}, "1.weight (4, 8) instead of (4, 9)"),
        ({"1.bias": torch.full((4,), torch.nan)}, "NaN or infinity in 1.bias"),
        ({"3.bias": torch.full((3,), torch.inf)}, "NaN or infinity in 3.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(factory, tmp_path, change, words):
    state = {
        key: value for key, value in weights_of(factory, **change).items() if value is not None
    }
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(LoadError) as raised:
        load(factory("net"), tmp_path / "w.safetensors")
    assert words in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not tensors", None])
def test_a_file_that_holds_no_weights_is_refused(factory, tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match="weights cannot be read"):
        load(factory("net"), path)


def test_a_fingerprint_changes_with_weights_code_and_classes_and_with_nothing_else(factory):
    torch.manual_seed(0)
    module, one = load(factory("net")), factory("net")
    first = fingerprint(module, [one.source])
    assert fingerprint(module, [one.source]) == first
    assert fingerprint(module.eval(), [one.source]) == first
    found = {first}
    with torch.no_grad():
        module[1].bias[0] += 1e-6
    found.add(fingerprint(module, [one.source]))
    module[2] = torch.nn.GELU()
    found.add(fingerprint(module, [one.source]))
    found.add(fingerprint(module.bfloat16(), [one.source]))
    one.source.write_text(SOURCE + "\n# changed\n")
    found.add(fingerprint(module, [one.source]))
    assert len(found) == 5


# Device, threads and batch size


def test_devices_are_what_torch_has():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("text", ["cuda:99", "gpu", "cpu0", ""])
def test_a_device_that_is_not_there_is_an_error_that_names_those_there_are(text):
    with pytest.raises(LoadError, match="cpu"):
        choose_device(text)


def test_the_smallest_choice_that_costs_hardly_more_is_taken():
    costs = {1: 10.0, 2: 5.1, 4: 5.0, 8: 5.2}
    assert tuning._smallest_good(costs, costs.get) == 2
    costs[2] = 6.0
    assert tuning._smallest_good(costs, costs.get) == 4


class Detached(torch.nn.Module):
    def forward(self, x):
        return x.detach().flatten(1)


@pytest.mark.parametrize("module", [torch.nn.Flatten(), Detached()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("images", [3, 70])
def test_measured_sizes_are_possible_ones(module, images):
    threads = torch.get_num_threads()
    try:
        x = torch.rand(images, 1, 3, 3)
        size = measure_batch_size(Victim("v", module), x)
        assert 1 <= size <= images
        chosen = measure_threads(Victim("v", module), x)
        assert chosen == torch.get_num_threads() >= 1
    finally:
        torch.set_num_threads(threads)


def test_a_fingerprint_covers_the_files_of_a_folder(tmp_path):
    module = torch.nn.Identity()
    (tmp_path / "config.json").write_text("{}")
    first = fingerprint(module, [tmp_path])
    (tmp_path / "config.json").write_text('{"act": "gelu"}')
    assert fingerprint(module, [tmp_path]) != first
