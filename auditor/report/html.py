"""The report as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from auditor.printable import printable
from auditor.report.plugin_sections import PluginSection
from auditor.report.view import build
from auditor.report.wording import Badge, Number, bounded
from auditor.results import AuditResult

_TEMPLATES = "auditor_report_templates"


def render(
    result: AuditResult,
    raw: bytes,
    appended: tuple[PluginSection, ...] = (),
    note: str = "",
) -> str:
    """The page; a style sheet within it serves screen and paper.

    Args:
        result: the audit.
        raw: audit.json as it lies on the disk, for the audit's identifier.
        appended: the sections of plugins.
        note: on how the page is set, for its head.
    """
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["badge"] = lambda value: isinstance(value, Badge)
    environment.tests["number"] = lambda value: isinstance(value, Number)
    page = environment.get_template("report.html.j2")
    report = build(result, raw, appended)
    return page.render(report=report, note=note, css=Markup(_read("report.css")))


def _read(name: str) -> str:
    return files(_TEMPLATES).joinpath(name).read_text(encoding="utf-8")


def _finalize(value: Any) -> Any:
    """Every text of the result passes here on its way into the page."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value if value.startswith("data:image/") else bounded(value))
