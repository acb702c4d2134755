"""Trial: sets one page in the type of the reports, and reads it back."""

from __future__ import annotations

import ast
import io
import json
import logging
import sys
import warnings
from html import escape
from importlib.resources import files
from typing import Any

from auditor.errors import LoadError

#: With the signs that reports need and that a poor font lacks.
_SENTENCE = "Robust accuracy 57.3 % (53.1–61.4) at ε ≤ 8/255"


def say(**what: Any) -> None:
    """A line for `auditor.doctor.trial`."""
    print(json.dumps({"trial": "page", **what}), flush=True)


def page(text: str = _SENTENCE) -> str:
    """HTML in the style of the reports."""
    css = files("auditor_report_templates").joinpath("report.css").read_text(encoding="utf-8")
    return (
        f"<!DOCTYPE html><html lang=en><title>doctor</title><style>{css}</style>"
        f"<p>{escape(text)}</p>"
    )


def letters() -> str:
    """Those that the command line asks for."""
    asked = [one for one in sys.argv if one.startswith("--letters=")]
    return str(ast.literal_eval(asked[0].removeprefix("--letters="))) if asked else ""


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


def main() -> None:
    """Try it once."""
    say(begins=True)
    try:
        asked = letters()
        say(**({"lacking": without_font(asked)} if asked else render()))
    except LoadError as error:
        say(error=f"{error.what} {error.where}", remedy=error.remedy)
    except BaseException as error:  # a broken package may raise anything
        say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__" and "page" not in sys.argv:
    main()
