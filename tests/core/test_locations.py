"""Lines of the user's code: by paths from the root of the repository, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auditor.audit.locations import Sources, place_of
from auditor.config import load_config
from auditor.results import Finding, Location

CONFIG = """
schema = 1
[model]
factory = "{factory}"
[data]
adapter = "npz"
path = "data.npz"
[threat]
norm = "linf"
epsilon = 0.1
"""
MODEL = """
import layers
from parts import layers as other


class Zoo:
    large = None

    @staticmethod
    def small():
        return None


def make():
    return None
"""


@pytest.fixture
def sources(tmp_path: Path):
    """Writes a repository with an audit in one of its folders; returns what is known of its code.

    `factory` is the model's, `root` whether the repository is one.
    """

    def of(factory: str, *, repository: bool = True) -> Sources:
        folder = tmp_path / "audits of mine"
        (folder / "parts").mkdir(parents=True)
        if repository:
            (tmp_path / ".git").mkdir()
        for name in ("the model.py", "model.py"):
            (folder / name).write_text(MODEL)
        (folder / "parts" / "__init__.py").touch()
        (folder / "parts" / "layers.py").write_text("x = 1\n" * 9)
        (folder / "layers.py").write_text("import rounding\n")
        (folder / "rounding.py").write_text("x = 1\n" * 9)
        np.savez(folder / "data.npz", x=np.zeros((4, 6, 6), np.uint8), y=np.arange(4) % 2)
        (folder / "audit.toml").write_text(CONFIG.format(factory=factory))
        config, _ = load_config(folder / "audit.toml")
        assert place_of(config) == ("audits of mine/" if repository else "") + "audit.toml"
        return Sources.of(config, config.models[0])

    return of


def test_paths_are_those_from_the_root_of_the_repository(sources):
    found = sources("the model.py:make")
    assert found.factory == Location("audits of mine/the model.py", 14)
    where = "Round.apply at rounding.py:7, module layers.0"
    assert found.locate(where) == Location("audits of mine/rounding.py", 7)
    assert found.locate("torch.round at the model.py:3") == Location(found.factory.file, 3)


def test_without_a_repository_they_begin_beside_the_configuration(sources):
    found = sources("model.py:Zoo.small", repository=False)
    assert found.factory == Location("model.py", 10)
    assert found.locate("torch.sign at rounding.py:2") == Location("rounding.py", 2)


def test_what_is_not_known_for_certain_is_not_named(sources):
    found = sources("model.py:make")
    assert found.locate("torch.round at layers.py:1") is None, "there are two of that name"
    assert found.locate("torch.round at functional.py:1234, module norm") is None, "not theirs"
    assert found.locate("module layers.0") is None
    assert found.locate("torch.sign at my-rounding.py:3") is None
    assert found.locate(None) is None


def test_findings_are_where_their_evidence_is(sources):
    def finding(*evidence: str) -> Finding:
        return Finding("code", "title", "high", "high", "summary", evidence, "remedy")

    found = sources("model.py:make")
    seen = found.located([finding("26 images fell", "where: x at rounding.py:5"), finding("none")])
    assert [one.location for one in seen] == [Location("audits of mine/rounding.py", 5), None]


def test_an_installed_factory_is_in_no_file_of_the_user(sources):
    assert sources("torchvision.models:resnet18").factory is None
