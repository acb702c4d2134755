"""compare.json, compare.html and compare.pdf, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from auditor.comparison.page import render
from auditor.comparison.result import Comparison, to_json
from auditor.errors import LoadError
from auditor.report import letters, pdf
from auditor.report.enclosures import Enclosure
from auditor.storage import StorageError, storing, write_atomically


def write(
    found: Comparison, class_names: Sequence[str], folder: Path, tell: Callable[[str], None]
) -> list[Path]:
    """The files of a comparison, in `folder`, which is made where it is not there.

    Args:
        class_names: by label, as far as they are known.
        tell: is told why there is no PDF, or what is not as it should be in it.

    Raises:
        StorageError: the disk refuses one of them.
    """
    with storing(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    text, page = to_json(found).encode(), render(found, class_names)
    written = [
        _write(folder / "compare.json", text),
        _write(folder / "compare.html", page.encode()),
    ]
    try:
        written.append(_write(folder / "compare.pdf", _pdf(found, text, page, tell)))
    except StorageError:
        raise
    except LoadError as error:
        tell(error.render())
    return written


def _pdf(found: Comparison, text: bytes, page: str, tell: Callable[[str], None]) -> bytes:
    attached = (
        Enclosure("compare.json", "The comparison that this document is a view of", "Data", text),
    )
    content, lacking = pdf.render(found.b.started, attached, page)
    if lacking:
        tell(
            f"compare.pdf: no font that is installed here has {letters.named(lacking)}; they are "
            f"written out. To set them, install a font: {letters.remedy(lacking)}"
        )
        content, _ = pdf.render(found.b.started, attached, page.translate(letters.table(lacking)))
    return content


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, content)
    return path
