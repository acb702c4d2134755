"""The faults of `tests/mutants` can still be made: each of their lines stands where it stood."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "mutants"))

from mutants import MUTANTS, Mutant  # noqa: E402


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_a_fault_is_one_line_of_the_code_and_its_tests_are_there(mutant: Mutant) -> None:
    assert mutant.written() != (ROOT / mutant.file).read_text(encoding="utf-8")
    for file in mutant.tests.split():
        assert (ROOT / file).is_file()
