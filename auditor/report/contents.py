"""The sections of the report: numbered ones for everybody, and a lettered appendix to look up in.

Sections of plugins stand at the end of the appendix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from auditor.language import N_, _
from auditor.report.plugin_sections import PluginSection
from auditor.report.wording import shorten
from auditor.results import AuditResult, ModelResult

#: The parts of a model's chapter, in order.
_PARTS = (
    ("masking", N_("Gradient masking")),
    ("curves", N_("Accuracy against epsilon")),
    ("classes", N_("Class by class")),
    ("gallery", N_("The most fragile images")),
    ("findings", N_("Findings")),
    ("checks", N_("Checks")),
)


@dataclass(frozen=True)
class Section:
    """An entry of the contents."""

    anchor: str
    number: str
    title: str
    children: tuple[Section, ...] = ()

    def child(self, name: str) -> Section:
        """The part of this section with this name."""
        return next(c for c in self.children if c.anchor == f"{self.anchor}-{name}")


@dataclass(frozen=True)
class Contents:
    """All sections, in order."""

    body: tuple[Section, ...]
    appendix: tuple[Section, ...]

    @classmethod
    def of(cls, result: AuditResult, appended: Sequence[PluginSection]) -> Contents:
        """The contents of the report on `result` with these sections of plugins."""
        models = list(enumerate(result.models, 1))
        several = len(models) > 1
        body = [
            ("side-by-side", _("Models side by side") if several else _("Results in brief")),
            ("gates", _("Gates")),
            *((f"model-{i}", _("Model {name}").format(name=shorten(model.name, 60)))
              for i, model in models),
            ("threats", _("Threat models")),
            ("limitations", _("Limitations")),
        ]  # fmt: skip
        appendix = [
            ("details", _("All numbers")),
            ("methods", _("Methods")),
            ("statistics", _("Statistics")),
            *([("selftest", _("Self-test of the masking verdict"))] if result.selftest else []),
            ("reproducibility", _("Reproducibility")),
            ("standards", _("Standards and guides")),
            ("glossary", _("Glossary")),
            *((section.anchor, shorten(section.title, 60)) for section in appended),
        ]
        parts: dict[str, Sequence[tuple[str, str]]] = {
            f"model-{i}": tuple(_parts(model)) for i, model in models
        }
        parts["details"] = [(str(i), shorten(model.name, 60)) for i, model in models]
        numbers = map(str, range(1, len(body) + 1))
        return cls(
            tuple(_section(*one, parts) for one in zip(numbers, body, strict=True)),
            tuple(_section(_letter(i), one, parts) for i, one in enumerate(appendix)),
        )

    def section(self, anchor: str) -> Section:
        """The entry with this anchor."""
        return next(s for s in (*self.body, *self.appendix) if s.anchor == anchor)


def _parts(model: ModelResult) -> Iterator[tuple[str, str]]:
    lacking = {
        "classes": not model.clean_classes,
        "gallery": not model.gallery,
        "checks": not model.checks,
    }
    return ((part, _(name)) for part, name in _PARTS if not lacking.get(part))


def _letter(place: int) -> str:
    """A to Z, then AA, AB and so on."""
    tens, ones = divmod(place, 26)
    return (_letter(tens - 1) if tens else "") + ascii_uppercase[ones]


def _section(
    number: str, named: tuple[str, str], parts: dict[str, Sequence[tuple[str, str]]]
) -> Section:
    anchor, title = named
    children = tuple(
        Section(f"{anchor}-{part}", f"{number}.{i}", name)
        for i, (part, name) in enumerate(parts.get(anchor, ()), 1)
    )
    return Section(anchor, number, title, children)
