"""A slow module is imported when something of it is used, and not before."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def run(code: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path):
    package = tmp_path / "slow_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys\nsys.loaded = getattr(sys, 'loaded', 0) + 1\nvalue = 42\n"
    )
    (package / "part.py").write_text("from slow_package import value\nhalf = value // 2\n")
    return tmp_path


def test_the_first_attribute_imports_the_module_once(folder):
    assert (
        run(
            """
        import sys
        from auditor.lazy import import_on_first_use
        import_on_first_use("slow_package")
        import slow_package
        before = getattr(sys, "loaded", 0)
        value = slow_package.value, slow_package.value
        import slow_package as again
        print(before, value, sys.loaded, again is slow_package, slow_package.__name__)
        """,
            folder,
        )
        == "0 (42, 42) 1 True slow_package"
    )


@pytest.mark.parametrize(
    "statement",
    ["from slow_package.part import half", "import slow_package.part as p; half = p.half"],
)
def test_a_submodule_imports_its_package(folder, statement):
    assert (
        run(
            f"""
        import sys
        from auditor.lazy import import_on_first_use
        import_on_first_use("slow_package")
        {statement}
        print(half, sys.loaded)
        """,
            folder,
        )
        == "21 1"
    )


def test_a_module_that_is_not_installed_is_said_to_be(folder):
    assert (
        run(
            """
        from auditor.lazy import import_on_first_use
        import_on_first_use("no_such_module")
        try:
            import no_such_module
            no_such_module.value
        except ModuleNotFoundError as error:
            print(error)
        """,
            folder,
        )
        == "No module named 'no_such_module'"
    )


def test_a_module_already_imported_stays(folder):
    assert (
        run(
            """
        import sys, slow_package
        from auditor.lazy import import_on_first_use
        import_on_first_use("slow_package")
        print(sys.modules["slow_package"] is slow_package, sys.loaded)
        """,
            folder,
        )
        == "True 1"
    )


def test_who_looks_whether_a_module_is_there_does_not_import_it(folder):
    assert (
        run(
            """
        import sys
        from auditor.lazy import import_on_first_use, unseen
        import_on_first_use("slow_package")
        import slow_package
        with unseen("slow_package"):
            before = "slow_package" in sys.modules
        print(before, hasattr(sys, "loaded"), sys.modules["slow_package"] is slow_package)
        slow_package.value
        with unseen("slow_package"):
            print(sys.modules["slow_package"] is slow_package)
        """,
            folder,
        )
        == "False False True\nTrue"
    )
