"""The report as one HTML page that needs nothing beside itself.

The templates read the result itself. What they call on it is listed here, under its own name:
filters, and the words of `wording` as `words`.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from auditor import language
from auditor.printable import printable
from auditor.report import charts, check_rows, masking_sentences, sentences, threats, wording
from auditor.report.attack_grid import attack_grids
from auditor.report.comparison_chart import compare_models
from auditor.report.contents import Contents
from auditor.report.glossary import glossary
from auditor.report.loss_charts import losses
from auditor.report.masking_charts import directions
from auditor.report.methods import methods
from auditor.report.overview import overview
from auditor.report.plugin_sections import PluginSection
from auditor.report.stage_tables import all_stages, stage_tables
from auditor.report.standards import reviewer, standards
from auditor.report.translation import translated
from auditor.results import AuditResult

_TEMPLATES = "auditor_report_templates"

_NUMBERS_AND_WORDS = (
    wording.clauses,
    wording.count,
    wording.day,
    wording.duration,
    wording.exit_meaning,
    wording.grey_levels,
    wording.interval,
    wording.listed,
    wording.moment,
    wording.norm,
    wording.norm_meaning,
    wording.number,
    wording.percent,
    wording.plural,
    wording.png,
    wording.ratio,
    wording.sentence,
    wording.share,
    wording.shorten,
    wording.threat_text,
    wording.value_text,
)
_SENTENCES = (
    check_rows.checks_sentence,
    masking_sentences.after,
    masking_sentences.before,
    masking_sentences.believed,
    masking_sentences.correction,
    masking_sentences.followers,
    masking_sentences.remark,
    masking_sentences.ruled_out,
    sentences.attack_notes,
    sentences.in_set,
    sentences.measured,
    sentences.of_set,
    sentences.problem,
    sentences.scope,
    sentences.verdict_sentence,
)
_TABLES_AND_CHARTS = (
    all_stages,
    attack_grids,
    charts.curves,
    check_rows.by_severity,
    check_rows.check_rows,
    check_rows.checks_in_brief,
    check_rows.checks_without_result,
    compare_models,
    directions,
    glossary,
    losses,
    methods,
    overview,
    reviewer,
    stage_tables,
    standards,
    threats.budgets,
    threats.class_table,
    threats.rationales,
    threats.threat_columns,
    threats.under,
)

#: Every filter by its name.
FILTERS = {one.__name__: one for one in (*_NUMBERS_AND_WORDS, *_SENTENCES, *_TABLES_AND_CHARTS)}


def render(
    result: AuditResult,
    raw: bytes,
    appended: tuple[PluginSection, ...] = (),
    note: str = "",
) -> str:
    """The page; a style sheet within it serves screen and paper.

    Args:
        result: the audit.
        raw: audit.json as it lies on the disk; its SHA-256 identifies the audit.
        appended: the sections of plugins.
        note: on how the page is set, for its head.
    """
    page = environment().get_template("report.html.j2")
    untranslated: tuple[str, ...] = ()
    if language.spoken() != language.ENGLISH:
        result, untranslated = translated(result)
    return page.render(
        result=result,
        untranslated=untranslated,
        sha256=hashlib.sha256(raw).hexdigest(),
        contents=Contents.of(result, appended),
        appended=appended,
        note=note,
        tag=language.tag(),
        css=Markup(style_sheet()),
    )


def environment() -> Environment:
    """What templates are read in: every text is escaped, bounded, and commands nothing."""
    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.newstyle_gettext = True  # type: ignore[attr-defined]
    environment.globals |= {"_": _gettext, "gettext": _gettext, "ngettext": _ngettext}
    environment.filters |= FILTERS
    environment.tests["doubtful"] = masking_sentences.doubtful
    environment.globals["words"] = wording
    return environment


def style_sheet() -> str:
    """The one sheet for screen and paper."""
    return _read("report.css")


def _read(name: str) -> str:
    return files(_TEMPLATES).joinpath(name).read_text(encoding="utf-8")


@pass_eval_context
def _gettext(context: EvalContext, text: str, /, **values: Any) -> str:
    return _filled(context, language.gettext(text), values)


@pass_eval_context
def _ngettext(context: EvalContext, one: str, many: str, number: int, /, **values: Any) -> str:
    return _filled(context, language.ngettext(one, many, number), {"num": number, **values})


def _filled(context: EvalContext, pattern: str, values: dict[str, Any]) -> str:
    """The pattern of a translation, which may hold HTML, with texts that may not."""
    shown = {name: _finalize(value) for name, value in values.items()}
    return (Markup(pattern) if context.autoescape else pattern) % shown


def _finalize(value: Any) -> Any:
    """Every text of the result passes here on its way into the page."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value if value.startswith("data:image/") else wording.bounded(value))
