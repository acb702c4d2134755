"""Trial: sets one page in the type of the reports, and reads it back."""

from __future__ import annotations

import ast
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from auditor.errors import LoadError

if TYPE_CHECKING:
    from auditor.doctor.trial import Attempt

#: With the signs that reports need and that a poor font lacks.
_SENTENCE = "Robust accuracy 57.3 % (53.1–61.4) at ε ≤ 8/255"


def page(text: str = _SENTENCE) -> str:
    """HTML in the style of the reports."""
    css = files("auditor_report_templates").joinpath("report.css").read_text(encoding="utf-8")
    return (
        f"<!DOCTYPE html><html lang=en><title>doctor</title><style>{css}</style>"
        f"<p>{escape(text)}</p>"
    )


def without_font(asked: str) -> str:
    """Which of these letters no installed font has."""
    from auditor.report.pdf import lacking

    return "".join(sorted(lacking(page(" ".join(asked)))))


def render() -> dict[str, Any]:
    """Whether the sentence comes back, its fonts, and what the libraries complain of."""
    from pypdf import PdfReader

    from auditor.report.pdf import render_page

    complaints = io.StringIO()
    handler = logging.StreamHandler(complaints)
    logging.getLogger("weasyprint").addHandler(handler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        (sheet,) = PdfReader(io.BytesIO(render_page(page()))).pages
    resources: Any = sheet["/Resources"]
    fonts = [font["/BaseFont"] for font in resources["/Font"].values()]
    said = [str(one.message) for one in caught if "HarfBuzz" in str(one.message)]
    return {
        "readable": _SENTENCE in " ".join(sheet.extract_text().split()),
        "fonts": [name.lstrip("/").rpartition("+")[2] for name in fonts],
        "complaints": said + complaints.getvalue().splitlines(),
    }


def attempts(arguments: Sequence[str]) -> Iterator[Attempt]:
    """The page; or with --letters= which of these letters cannot be set."""
    asked = [one for one in arguments if one.startswith("--letters=")]
    text = str(ast.literal_eval(asked[0].removeprefix("--letters="))) if asked else ""
    return iter([("page", partial(tried, text))])


def tried(asked: str) -> dict[str, Any]:
    """What came of it; where the libraries are missing, what to do."""
    try:
        return {"lacking": without_font(asked)} if asked else render()
    except LoadError as error:
        return {"error": f"{error.what} {error.where}", "remedy": error.remedy}
