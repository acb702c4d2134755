"""Reports on synthetic audits, each rendered once."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import synthetic_audits
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from auditor import language
from auditor.report import ReportSource, translation, write_reports
from auditor.results import to_json

AUDITS = ("small", "large", "hostile", "empty", "many", "masks")


@pytest.fixture(scope="session")
def source() -> Callable[[str], ReportSource]:
    """The synthetic audit of a name."""

    @cache
    def get(name: str) -> ReportSource:
        result = getattr(synthetic_audits, name)()
        return ReportSource(result, to_json(result).encode())

    return get


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Catalog], str]]:
    """Makes a catalogue the only one, and returns its language."""
    caches = (
        language._catalogue,
        language._read,
        language.letters_of,
        translation._known,
        translation._whole,
        translation._said,
    )

    def make(catalog: Catalog) -> str:
        name = str(catalog.locale_identifier)
        file = tmp_path / "locale" / name / "LC_MESSAGES" / "auditor.po"
        file.parent.mkdir(parents=True)
        with file.open("wb") as opened:
            write_po(opened, catalog)
        monkeypatch.setattr(language, "_folder", lambda: tmp_path / "locale")
        for one in caches:
            one.cache_clear()
        return name

    yield make
    for one in caches:
        one.cache_clear()


@pytest.fixture(scope="session")
def reported(
    tmp_path_factory: pytest.TempPathFactory, source: Callable[[str], ReportSource]
) -> Callable[[str], Path]:
    """The run directory of a synthetic audit with both reports in it, free of warnings.

    Processes that share the tests share the reports: the first to want one makes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    @cache
    def get(name: str) -> Path:
        directory = shared / f"report-{name}"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (directory / "report.html").exists():
                make(name, directory)
        return directory

    def make(name: str, directory: Path) -> None:
        directory.mkdir()
        (directory / "audit.json").write_bytes(source(name).raw)
        with weasyprint_warnings() as warnings:
            write_reports(directory, ["pdf", "html"])
        # Which glyphs the fonts of a machine lack is not the report's doing.
        assert [w for w in warnings if ".notdef glyph" not in w or name != "hostile"] == []

    return get


class weasyprint_warnings:  # noqa: N801
    """Collects what WeasyPrint complains about.

    That a library is missing which it can do without is `auditor doctor`'s to say, not a report's.
    """

    def __enter__(self) -> list[str]:
        self.messages: list[str] = []
        self.handler = logging.Handler(logging.WARNING)
        self.handler.addFilter(lambda record: "HarfBuzz-Subset" not in record.getMessage())
        self.handler.emit = lambda record: self.messages.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("weasyprint").addHandler(self.handler)
        return self.messages

    def __exit__(self, *error: object) -> None:
        logging.getLogger("weasyprint").removeHandler(self.handler)
