"""What the system tests share: a directory with a small audit, and one thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from system_files import write_audit


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The audits that run in this process set the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def no_record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No audit quotes what the self-test found on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDITOR_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which holds a small audit: audit.toml, model.py and data.npz."""
    write_audit(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path
