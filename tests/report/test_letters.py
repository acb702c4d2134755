"""Letters that no installed font has: no boxes, and a word on what to install."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_audits
from babel.messages.catalog import Catalog
from pypdf import PdfReader
from synthetic_attacks import threat

from auditor.protocols.reporting import Section
from auditor.report import letters, pdf, write_reports
from auditor.results import to_json

#: For private use: no font has it, whatever a machine has installed.
NOWHERE = "\U000f1234"


@pytest.mark.slow
def test_letters_without_a_font_are_written_out_and_told(tmp_path: Path) -> None:
    model = synthetic_audits.model(f"net {NOWHERE}", [threat("8/255", 280, (f"pgd {NOWHERE}",))])
    result = synthetic_audits.audit(
        [model, replace(model, name="other")], title=f"{NOWHERE} audit", reviewers=(NOWHERE,)
    )
    (tmp_path / "audit.json").write_text(to_json(result), encoding="utf-8")
    section = Section("mine", "Mine", lambda result: f"<p>theirs {NOWHERE}</p>")
    told: list[str] = []
    write_reports(tmp_path, ["html", "pdf"], sections=[(section, "plugin")], tell=told.append)
    (said,) = told
    assert said.startswith("report.pdf: No font that is installed here has a letter of this report")
    reader = PdfReader(tmp_path / "report.pdf")
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    for words in ("\\U000f1234 audit", "net \\U000f1234", "pgd \\U000f1234", "theirs \\U000f1234"):
        assert words in text, words
    assert "Letters. No font that is installed here has a letter of this report" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"net {NOWHERE}" in page, "the reader's machine may well have a font"
    assert "No font that is installed here" not in page
    assert reader.attachments["audit.json"] == [(tmp_path / "audit.json").read_bytes()]


def test_a_language_that_no_font_can_write_is_english_in_the_pdf(
    tmp_path: Path, made_up: Callable[[Catalog], str]
) -> None:
    catalog = Catalog(locale="sv")
    catalog.add("Limitations", f"{NOWHERE}{NOWHERE}")
    language = made_up(catalog)
    (tmp_path / "audit.json").write_text(to_json(synthetic_audits.small()), encoding="utf-8")
    told: list[str] = []
    write_reports(tmp_path, ["html", "pdf"], tell=told.append, language=language)
    (said,) = told
    assert f'has the letters of the language "{language}", so that the PDF is in English' in said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert NOWHERE in page
    assert '<html lang="sv">' in page
    reader = PdfReader(tmp_path / "report.pdf")
    text = " ".join(" ".join(page.extract_text().split()) for page in reader.pages)
    assert "so that the PDF is in English; report.html is not." in text
    assert "Limitations" in text
    assert "\\U000f1234" not in text


def test_a_page_of_common_letters_lacks_none() -> None:
    assert pdf.lacking("<!DOCTYPE html><html lang=en><title>a</title><p>b") == frozenset()
    assert letters.uncommon(["Audit – 50 % ε ≤ 8/255", "Ü"]) == "–≤"
    assert letters.uncommon(["监控 监", "\x1b"]) == "控监"


def test_the_fonts_to_install_are_named() -> None:
    assert "fonts-noto-cjk" in letters.remedy("监")
    assert "fonts-noto-cjk" in letters.remedy("セ")
    assert "emoji" in letters.remedy("🦊")
    assert "fonts-noto-core" in letters.remedy("न")
    assert letters.remedy(NOWHERE) == "leave them out: no font is known to have them"
    many = letters.note("".join(map(chr, range(0x4E00, 0x4E20))))
    assert "32 letters" in many
    assert "一 (\\u4e00)" in many
    assert "and 20 more" in many
