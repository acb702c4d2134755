"""The sections of the report, numbered: fixed ones around one per model, and those of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.report.plugin_sections import PluginSection
from auditor.report.wording import shorten
from auditor.results import AuditResult, ModelResult

#: The parts of a model's chapter, in order; the checks are left out where none was asked for.
_PARTS = (
    ("masking", "Gradient masking"),
    ("attacks", "Attacks"),
    ("curves", "Accuracy against epsilon"),
    ("losses", "Final losses over restarts"),
    ("gallery", "Adversarial examples"),
    ("findings", "Findings"),
    ("checks", "Checks"),
    ("measurements", "Measurements of the checks"),
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
            ("side-by-side", "Models side by side" if several else "Results in brief"),
            ("gates", "Gates"),
            *((f"model-{i}", f"Model {shorten(model.name, 60)}")
              for i, model in enumerate(result.models, 1)),
            ("methods", "Methods"),
            ("threats", "Threat models"),
            ("statistics", "Statistics"),
            *([("selftest", "Self-test of the masking verdict")] if result.selftest else []),
            ("reproducibility", "Reproducibility"),
            ("limitations", "Limitations"),
            ("glossary", "Glossary"),
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
    return (part for part in _PARTS if model.checks or part[0] != "checks")


def _section(anchor: str, number: int, title: str, parts: Sequence[tuple[str, str]]) -> Section:
    children = tuple(
        Section(f"{anchor}-{part}", f"{number}.{i}", name)
        for i, (part, name) in enumerate(parts, 1)
    )
    return Section(anchor, str(number), title, children)
