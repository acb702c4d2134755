"""What the tests of the core share: one thread, the built-in plugins, keyed noise."""

from __future__ import annotations

import pytest
import torch

from auditor.registry import Registry, load_registry


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums in one fixed order, and no competition for cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_registry()


@pytest.fixture(params=["linf", "l2", "l1"])
def norm_name(request) -> str:
    return request.param
