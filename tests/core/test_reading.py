"""`auditor.read` on what is no finished audit."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_results import audit_result
from pypdf import PdfWriter

from auditor import read
from auditor.errors import UsageError
from auditor.results import to_json


def _run(directory: Path) -> Path:
    (directory / "audit.json").write_text(to_json(audit_result()), encoding="utf-8")
    return directory


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"schema": "auditor.audit/2"}', b"\xff"])
def test_no_audit(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "audit.json").write_bytes(content)
    with pytest.raises(UsageError, match="There is no audit to read"):
        read(tmp_path)


def pdf_with(path: Path, *contents: bytes, name: str = "audit.json") -> Path:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    for content in contents:
        writer.add_attachment(name, content)
    writer.write(path)
    return path


def test_a_pdf_has_the_result_alone(tmp_path: Path) -> None:
    raw = to_json(audit_result()).encode()
    run = read(pdf_with(tmp_path / "any-name", raw))
    assert (run.directory, run.raw, run.result) == (None, raw, audit_result())
    with pytest.raises(UsageError, match=r"A PDF carries no samples\.parquet"):
        _ = run.samples
    with pytest.raises(UsageError, match=r"A PDF carries no adversarial\.safetensors"):
        list(run.examples())


@pytest.mark.parametrize(
    ("contents", "name", "message"),
    [
        ((), "audit.json", "There is no audit to read"),
        ((b"{}",), "other.json", "There is no audit to read"),
        ((b"{}",), "audit.json", "There is no audit to read"),
        ((b"{}", b"{}"), "audit.json", "2 files called audit.json"),
    ],
)
def test_a_pdf_without_an_audit(
    tmp_path: Path, contents: tuple[bytes, ...], name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read(pdf_with(tmp_path / "report.pdf", *contents, name=name))


def test_a_damaged_pdf(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 and nothing else")
    with pytest.raises(UsageError, match="The PDF cannot be read"):
        read(tmp_path / "report.pdf")


def test_missing_and_damaged_tables(tmp_path: Path) -> None:
    run = read(_run(tmp_path))
    for write in (False, True):
        for name in ("samples.parquet", "adversarial.safetensors") if write else ():
            (tmp_path / name).write_bytes(b"PAR1 and more that is none")
        with pytest.raises(UsageError, match=r"samples\.parquet cannot be read"):
            _ = run.samples
        with pytest.raises(UsageError, match=r"adversarial\.safetensors cannot be read"):
            list(run.examples())
