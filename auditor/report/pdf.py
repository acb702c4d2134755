"""The report as a PDF: tagged, with bookmarks, and with the files that it carries byte for byte.

The only place that knows WeasyPrint, whose native libraries may be missing.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from auditor.errors import LoadError
from auditor.report.enclosures import Enclosure
from auditor.report.wording import moment

#: How WeasyPrint ends its warning of a letter that no font has.
_WITHOUT_FONT = re.compile(r"\(U\+([0-9A-F]+)\)$")
_REMEDY = (
    "install Pango and HarfBuzz: on Debian or Ubuntu "
    "`apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0`, on Fedora "
    "`dnf install pango`, on Alpine `apk add pango harfbuzz-subset`, on macOS "
    "`brew install pango`, on Windows the MSYS2 package `mingw-w64-x86_64-pango`, with its `bin` "
    "folder in WEASYPRINT_DLL_DIRECTORIES; then `auditor report RUN_DIR --format pdf`"
)


def render(
    started: str, enclosures: Sequence[Enclosure], page: str
) -> tuple[bytes, frozenset[str]]:
    """`page`, an HTML report, as PDF bytes; the same bytes for the same audit.

    With it the letters that no installed font has: where they stand, the PDF has boxes.

    Args:
        started: when the audit was, in ISO 8601, which the PDF is dated by.
        enclosures: the files to be attached, first the one that the report is a view of.
        page: the HTML report.

    Raises:
        LoadError: the libraries that set the type are missing.
    """
    weasyprint = _weasyprint()
    when = moment(started)
    attachments = [
        weasyprint.Attachment(
            string=one.content,
            name=one.name,
            description=one.description,
            created=when,
            modified=when,
            relationship=one.relationship,
        )
        for one in enclosures
    ]
    with _source_date(when), _letters_without_font() as lacking:
        content = _write(
            weasyprint,
            page,
            pdf_identifier=hashlib.sha256(enclosures[0].content).digest()[:16],
            attachments=attachments,
            finisher=_name_attachments_once,
        )
    return content, frozenset(lacking)


def render_page(page: str) -> bytes:
    """`page` alone as PDF bytes, set by the libraries that set the reports; for `auditor doctor`.

    Raises:
        LoadError: the libraries that set the type are missing.
    """
    return _write(_weasyprint(), page)


class _Letters(logging.Filter):
    """Takes WeasyPrint's warnings of letters without a font, which name one each."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is of something else."""
        text = record.getMessage()
        found = _WITHOUT_FONT.search(text) if text.startswith(".notdef") else None
        if found:
            self.seen.add(chr(int(found[1], 16)))
        return found is None


@contextmanager
def _letters_without_font() -> Iterator[set[str]]:
    logger, letters = logging.getLogger("weasyprint"), _Letters()
    logger.addFilter(letters)
    try:
        yield letters.seen
    finally:
        logger.removeFilter(letters)


def lacking(page: str) -> frozenset[str]:
    """The letters of an HTML page that no installed font has.

    Raises:
        LoadError: the libraries that set the type are missing.
    """
    with _letters_without_font() as found:
        render_page(page)
    return frozenset(found)


def _write(weasyprint: Any, page: str, **options: Any) -> bytes:
    # Nothing but what the page carries within itself is ever fetched: names in it may be hostile.
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=("data",))
    document = weasyprint.HTML(string=page, url_fetcher=fetcher, base_url=None)
    with warnings.catch_warnings():
        # WeasyPrint leaves closing its colour profile to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        pdf: bytes = document.write_pdf(pdf_variant="pdf/a-3a", **options)
    return pdf


def _weasyprint() -> Any:
    try:
        import weasyprint
        import weasyprint.urls
    except (ImportError, OSError) as error:
        raise LoadError(
            "The PDF report could not be made: the libraries that set its type are missing.",
            where=" ".join(str(error).split())[:200],
            expected="WeasyPrint with Pango and HarfBuzz; the other reports were written",
            remedy=_REMEDY,
        ) from error
    return weasyprint


def _name_attachments_once(document: Any, pdf: Any) -> None:
    """WeasyPrint 70 lists each associated file twice."""
    files = pdf.catalog["AF"]
    files[:] = dict.fromkeys(files)


@contextmanager
def _source_date(started: datetime) -> Iterator[None]:
    """Date what the font subsetter writes by the audit, not by the clock."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(int(started.timestamp()))
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before
