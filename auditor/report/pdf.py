"""The report as a PDF: tagged, with bookmarks, and with audit.json attached byte for byte.

The only place that knows WeasyPrint, whose native libraries may be missing.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from auditor.errors import LoadError
from auditor.report.wording import moment
from auditor.results import AuditResult

_REMEDY = (
    "install Pango and HarfBuzz: on Debian or Ubuntu "
    "`apt install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0`, on Fedora "
    "`dnf install pango`, on Alpine `apk add pango harfbuzz-subset`, on macOS "
    "`brew install pango`, on Windows the MSYS2 package `mingw-w64-x86_64-pango`, with its `bin` "
    "folder in WEASYPRINT_DLL_DIRECTORIES; then `auditor report RUN_DIR --format pdf`"
)


def render(result: AuditResult, raw: bytes, page: str) -> bytes:
    """`page`, the HTML report on `result`, as PDF bytes; the same bytes for the same audit.

    Args:
        result: the audit.
        raw: audit.json as it lies on the disk, to be attached.
        page: the HTML report.

    Raises:
        LoadError: the libraries that set the type are missing.
    """
    weasyprint = _weasyprint()
    started = moment(result.provenance.started)
    attachment = weasyprint.Attachment(
        string=raw,
        name="audit.json",
        description="The result that this report is a view of",
        created=started,
        modified=started,
        relationship="Data",
    )
    with _source_date(started):
        return _write(
            weasyprint,
            page,
            pdf_identifier=hashlib.sha256(raw).digest()[:16],
            attachments=[attachment],
            finisher=_name_attachment_once,
        )


def render_page(page: str) -> bytes:
    """`page` alone as PDF bytes, set by the libraries that set the reports; for `auditor doctor`.

    Raises:
        LoadError: the libraries that set the type are missing.
    """
    return _write(_weasyprint(), page)


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


def _name_attachment_once(document: Any, pdf: Any) -> None:
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
