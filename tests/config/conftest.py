"""A directory in which a configuration is valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_texts import MINIMAL, Load

from auditor.config import AuditConfig, load_config


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("audit")
    (directory / "weights").mkdir()
    for name in ("model.py", "images.npz", "weights/a.safetensors", "weights/b.safetensors"):
        (directory / name).touch()
    (directory / "audit.toml").write_text(MINIMAL)
    plugin = Path(__file__).parent / "malformed/files/corner.py"
    (directory / "corner.py").write_text(plugin.read_text())
    return directory


@pytest.fixture
def load(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads a text, by default the minimal one, as an audit.toml of that directory."""

    def load(text: str = MINIMAL, *overrides: str) -> AuditConfig:
        path = directory / "other.toml"
        path.write_text(text)
        return load_config(path, overrides)[0]

    return load
