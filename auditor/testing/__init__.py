"""The conformance kit: what plugins have to hold, and whether one does.

In a test of your plugin, one item per property of everything that it offers:

    @pytest.mark.conformance(auditor_mine)
    def test_conforms(conformance):
        conformance.run()

On the command line: `auditor plugin check auditor_mine`. The mark comes from the pytest plugin that
this module is, which is found by itself where auditor is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from auditor.testing.property import Case, NonConformance, Violation

if TYPE_CHECKING:
    import pytest

__all__ = ["Case", "NonConformance", "Violation", "conformance_cases"]

_MARK = "conformance(module, parameters={}): the plugin whose properties `conformance` stands for"


def conformance_cases(
    module: ModuleType, parameters: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Case]:
    """Every property of every attack, check and data adapter that a plugin offers.

    Args:
        module: the plugin, with its hooks.
        parameters: by the name of what has them; others have their defaults.

    Raises:
        LoadError: what the plugin offers cannot be read.
    """
    from auditor.testing.cases import cases  # torch is needed to import it

    return cases(module, parameters or {})


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _MARK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `conformance` runs once per property of what its mark names."""
    mark = metafunc.definition.get_closest_marker("conformance")
    if mark is not None and "conformance" in metafunc.fixturenames:
        found = conformance_cases(*mark.args, **mark.kwargs)
        metafunc.parametrize("conformance", found, ids=str)
