"""The sections of the report, numbered: fixed ones around one per model, and those of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.language import N_, _
from auditor.report.plugin_sections import PluginSection
from auditor.report.wording import shorten
from auditor.results import AuditResult, ModelResult

#: The parts of a model's chapter, in order; the checks are left out where none was asked for.
_PARTS = (
    ("masking", N_("Gradient masking")),
    ("attacks", N_("Attacks")),
    ("curves", N_("Accuracy against epsilon")),
    ("losses", N_("Final losses over restarts")),
    ("gallery", N_("Adversarial examples")),
    ("findings", N_("Findings")),
    ("checks", N_("Checks")),
    ("measurements", N_("Measurements of the checks")),
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

    sections: tuple[Section, ...]

    @classmethod
    def of(cls, result: AuditResult, appended: Sequence[PluginSection]) -> Contents:
        """The contents of the report on `result` with these sections of plugins."""
        several = len(result.models) > 1
        titles = [
            ("side-by-side", _("Models side by side") if several else _("Results in brief")),
            ("gates", _("Gates")),
            *((f"model-{i}", _("Model {name}").format(name=shorten(model.name, 60)))
              for i, model in enumerate(result.models, 1)),
            ("methods", _("Methods")),
            ("threats", _("Threat models")),
            ("statistics", _("Statistics")),
            *([("selftest", _("Self-test of the masking verdict"))] if result.selftest else []),
            ("reproducibility", _("Reproducibility")),
            ("limitations", _("Limitations")),
            ("glossary", _("Glossary")),
            *((section.anchor, shorten(section.title, 60)) for section in appended),
        ]  # fmt: skip
        parts = {f"model-{i}": tuple(_parts(m)) for i, m in enumerate(result.models, 1)}
        return cls(
            tuple(
                _section(anchor, number, title, parts.get(anchor, ()))
                for number, (anchor, title) in enumerate(titles, 1)
            )
        )

    @property
    def columns(self) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
        """The sections in two columns of about the same length."""
        lengths = [1 + len(section.children) for section in self.sections]
        middle = next(i for i in range(len(lengths)) if 2 * sum(lengths[: i + 1]) >= sum(lengths))
        return self.sections[: middle + 1], self.sections[middle + 1 :]

    def section(self, anchor: str) -> Section:
        """The entry with this anchor."""
        return next(s for s in self.sections if s.anchor == anchor)


def _parts(model: ModelResult) -> Iterator[tuple[str, str]]:
    return ((part, _(name)) for part, name in _PARTS if model.checks or part != "checks")


def _section(anchor: str, number: int, title: str, parts: Sequence[tuple[str, str]]) -> Section:
    children = tuple(
        Section(f"{anchor}-{part}", f"{number}.{i}", name)
        for i, (part, name) in enumerate(parts, 1)
    )
    return Section(anchor, str(number), title, children)
