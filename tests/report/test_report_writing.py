"""What `write_reports` writes, and what it says when it cannot."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import LoadError, UsageError
from auditor.report import FORMATS, ReportSource, wording, write_reports
from auditor.results import to_json


@pytest.fixture
def run_directory(tmp_path: Path, source: Callable[[str], ReportSource]) -> Path:
    (tmp_path / "audit.json").write_bytes(source("small").raw)
    return tmp_path


def test_html_comes_before_pdf() -> None:
    assert list(FORMATS)[:2] == ["html", "pdf"]


def test_importing_the_room_imports_nothing_slow() -> None:
    code = (
        "import sys, auditor.report; "
        "slow = {'torch', 'jinja2', 'matplotlib', 'weasyprint', 'numpy'} & set(sys.modules); "
        "sys.exit(str(slow) if slow else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rendering_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; "
        "import auditor.report.html, auditor.report.pdf, auditor.report.charts"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_is_written_whole_and_alone(run_directory: Path) -> None:
    assert write_reports(run_directory, ["html"]) == [run_directory / "report.html"]
    found = {path.name for path in run_directory.iterdir()}
    assert found == {"audit.json", "report.html", "SHA256SUMS"}


def test_without_pango_the_html_is_there_and_the_error_helps(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def broken(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("weasyprint"):
            raise OSError("cannot load library 'libpango-1.0-0': no such file")
        return original(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(LoadError) as raised:
        write_reports(run_directory, ["pdf", "html"])
    assert (run_directory / "report.html").exists()
    assert not (run_directory / "report.pdf").exists()
    for word in ("libpango-1.0-0", "libharfbuzz-subset0", "brew install pango", "MSYS2"):
        assert word in str(raised.value)


def test_an_unknown_format_is_an_error_before_anything_is_written(run_directory: Path) -> None:
    with pytest.raises(ValueError, match="htm"):
        write_reports(run_directory, ["pdf", "htm"])
    assert {path.name for path in run_directory.iterdir()} == {"audit.json"}


@pytest.mark.parametrize("content", [None, "", "{}", '{"schema": "auditor.audit/9"}'])
def test_a_missing_or_foreign_audit_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "audit.json").write_text(content)
    with pytest.raises(UsageError, match="no audit to report on"):
        write_reports(tmp_path, ["html"])


def test_audit_json_survives_the_round_trip(
    source: Callable[[str], ReportSource], tmp_path: Path
) -> None:
    raw = to_json(source("hostile").result).encode()
    (tmp_path / "audit.json").write_bytes(raw)
    assert ReportSource.read(tmp_path) == ReportSource(source("hostile").result, raw)


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.0, "0.0 %"), (1.0, "100.0 %"), (0.9996, "> 99.9 %"), (0.0004, "< 0.1 %"),
        (0.4525, "45.2 %"), (None, "–"),
    ],
)  # fmt: skip
def test_percentages_are_never_rounded_to_certainty(fraction: float | None, text: str) -> None:
    assert wording.percent(fraction).replace(wording.NBSP, " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (62, "1 min 02 s"), (3723, "1 h 02 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds).replace(wording.NBSP, " ") == text


@pytest.mark.parametrize("text", ["soon", "", "2026-13-01"])
def test_a_start_that_is_no_time_is_the_epoch(text: str) -> None:
    assert wording.moment(text).timestamp() == 0


def test_a_language_without_a_catalogue_is_told(run_directory: Path) -> None:
    told: list[str] = []
    (page,) = write_reports(run_directory, ["html"], tell=told.append, language="tlh")
    assert '<html lang="en">' in page.read_text()
    assert told == ["the reports are in English: there is no catalogue of the language 'tlh'"]
