"""A comparison as files: compare.json, compare.html and compare.pdf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from auditor.comparison import words
from auditor.comparison.facts import Comparison, to_json
from auditor.report import html
from auditor.storage import write_atomically


def write(comparison: Comparison, directory: Path) -> Iterator[Path]:
    """Write the three files into a directory, the PDF last; each is given when it is there.

    Raises:
        LoadError: the libraries that set the PDF are missing, or the disk refuses a file.
    """
    from auditor.report import pdf

    page = html.filled("compare.html.j2", comparison=comparison, say=words)
    json_file, html_file, pdf_file = (
        directory / f"compare.{ending}" for ending in ("json", "html", "pdf")
    )
    write_atomically(json_file, to_json(comparison).encode())
    yield json_file
    write_atomically(html_file, page.encode())
    yield html_file
    write_atomically(pdf_file, pdf.render_page(page))
    yield pdf_file
