"""The PDF as a file: text, structure, attachment, and the same bytes every time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import AUDITS
from pypdf import PdfReader

from auditor import language, read
from auditor.report import ReportSource, pdf, write_pdf
from auditor.report.drawing import spread

#: The PDF of these takes the longest to set.
LONG = ("hostile", "large", "many")


def printed(names: Iterable[str]) -> list[Any]:
    """Parameters of a test that needs the PDF of these."""
    return [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in names]


def titles(outline: list[Any]) -> list[str]:
    """The bookmarks, top to bottom."""
    found: list[str] = []
    for entry in outline:
        found += titles(entry) if isinstance(entry, list) else [entry.title]
    return found


@pytest.mark.parametrize("name", printed(AUDITS))
def test_every_page_has_text_of_its_own(name: str, reported: Callable[[str], Path]) -> None:
    pages = PdfReader(reported(name) / "report.pdf").pages
    for number, page in enumerate(pages, 1):
        text = page.extract_text().replace("\x00", "")  # pypdf's reading of some fonts
        assert f"Page {number} of {len(pages)}" in text
        assert len(text) > 200


def test_key_numbers_can_be_found(reported: Callable[[str], Path]) -> None:
    reader = PdfReader(reported("large") / "report.pdf")
    first = reader.pages[0].extract_text().replace("\xa0", " ")
    for number in ("92.0 %", "54.4 %", "32.4 %", "10.4 %", "7.7–13.1 %", "FAIL"):
        assert number in first
    everything = " ".join(page.extract_text() for page in reader.pages)
    assert "1,234,567" in everything
    assert "hop-skip-jump" in everything


@pytest.mark.parametrize("name", printed(["small", "large", "empty", "many"]))
def test_the_answer_is_on_page_one_and_signatures_never_stand_alone(
    name: str, reported: Callable[[str], Path]
) -> None:
    pages = PdfReader(reported(name) / "report.pdf").pages
    first, second = (page.extract_text() for page in pages[:2])
    assert "Reviewed by" in first or "Contents" in second
    assert "Contents" in first + second
    assert "Gates" in first


@pytest.mark.parametrize("name", printed(AUDITS))
def test_audit_json_comes_back_byte_for_byte(
    name: str, reported: Callable[[str], Path], source: Callable[[str], ReportSource]
) -> None:
    reader = PdfReader(reported(name) / "report.pdf")
    assert reader.attachments["audit.json"] == [source(name).raw]
    assert read(reported(name) / "report.pdf").raw == source(name).raw
    associated = reader.trailer["/Root"]["/AF"]
    assert [entry.get_object()["/AFRelationship"] for entry in associated] == [
        "/Data", "/Supplement"
    ]  # fmt: skip


def test_the_document_is_tagged_titled_and_dated(reported: Callable[[str], Path]) -> None:
    reader = PdfReader(reported("large") / "report.pdf")
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    assert root["/Lang"] == "en"
    assert reader.metadata is not None
    assert reader.metadata.title == "Synthetic classifier, not a measurement"
    assert "20260102030405" in str(reader.metadata.get("/CreationDate"))


def test_chinese_is_found_in_the_pdf(source: Callable[[str], ReportSource], tmp_path: Path) -> None:
    letters = language.letters_of("zh")
    lacking = pdf.lacking(f"<!DOCTYPE html><html lang=zh-CN><title>a</title><p>{''.join(letters)}")
    if lacking & letters:
        pytest.skip("no font that is installed here has Chinese letters")
    path = write_pdf(replace(source("small"), language="zh"), tmp_path)
    reader = PdfReader(path)
    text = re.sub(r"\s", "", "".join(page.extract_text() for page in reader.pages))
    for words in ("对抗鲁棒性审计", "鲁棒准确率", "梯度掩蔽", "第1页，共", "术语表", "代理模型"):
        assert words in text, words
    root = reader.trailer["/Root"]
    assert (root["/Lang"], bool(root["/MarkInfo"]["/Marked"])) == ("zh-CN", True)
    assert any("门禁" in title for title in titles(reader.outline))


def test_headings_are_bookmarks(reported: Callable[[str], Path]) -> None:
    found = titles(PdfReader(reported("large") / "report.pdf").outline)
    for title in ("Contents", "Gates", "Model distilled", "Gradient masking", "Glossary"):
        assert any(title in bookmark for bookmark in found)


def test_the_same_audit_gives_the_same_bytes(
    reported: Callable[[str], Path], tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in reported("small").glob("report.*")}
    shutil.copy(reported("small") / "audit.json", tmp_path)
    code = (
        "import sys; from pathlib import Path; from auditor.report import write_reports; "
        "write_reports(Path(sys.argv[1]), ['html', 'pdf'])"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "4711",
        "SOURCE_DATE_EPOCH": "1",
        "TZ": "Asia/Tokyo",
    }
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert before == {path.name: path.read_bytes() for path in tmp_path.glob("report.*")}


def test_the_environment_is_left_as_it_was(
    source: Callable[[str], ReportSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<!DOCTYPE html><html lang=en><title>a</title><p>b"
    small = source("small")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12")
    pdf.render(small.result.provenance.started, small.enclosures, page)
    assert os.environ["SOURCE_DATE_EPOCH"] == "12"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    pdf.render(small.result.provenance.started, small.enclosures, page)
    assert "SOURCE_DATE_EPOCH" not in os.environ


def test_names_move_apart_in_order_and_stay_inside() -> None:
    moved = spread([0.98, 0.5, 0.99, 0.5], 0.1)
    assert moved == pytest.approx([0.9, 0.5, 1.0, 0.6])
    assert spread([], 0.1) == []
