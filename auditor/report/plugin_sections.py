"""The sections that plugins add to the report: made safely, whatever the plugins do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from auditor.printable import printable
from auditor.protocols.reporting import Section
from auditor.report.safe_html import cleaned
from auditor.results import AuditResult
from auditor.usercode.calls import blamed


@dataclass(frozen=True)
class PluginSection:
    """A section of a plugin, or why there is none."""

    anchor: str
    title: str
    plugin: str
    html: Markup
    failure: str
    #: What was made smaller or left out for its size.
    bounded: tuple[str, ...] = ()
    #: What it raised, where there is none.
    raised: BaseException | None = field(default=None, compare=False)


def plugin_sections(
    result: AuditResult, sections: Sequence[tuple[Section, str]]
) -> tuple[PluginSection, ...]:
    """Each section, rendered from `result`, beside the name of the plugin that answers for it."""
    return tuple(
        _made(f"plugin-section-{number}", section, plugin, result)
        for number, (section, plugin) in enumerate(sections, 1)
    )


def _made(anchor: str, section: Section, plugin: str, result: AuditResult) -> PluginSection:
    html, failure, title = Markup(), "", section.name
    bounded: tuple[str, ...] = ()
    raised: BaseException | None = None
    try:
        title = str(section.title)
        text = section.render(copy.deepcopy(result))  # what it holds may be changed
        if not isinstance(text, str):
            raise TypeError(f"it returned {type(text).__name__}, not text")
        clean, bounded = cleaned(printable(text))
        html = Markup(clean)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything
        failure, raised = blamed(error), error
    return PluginSection(anchor, title, plugin, html, failure, bounded, raised)
