"""One test per property of everything that the plugin offers."""

from __future__ import annotations

import auditor_momentum
import pytest


@pytest.mark.conformance(auditor_momentum)
def test_conforms(conformance):
    conformance.run()
