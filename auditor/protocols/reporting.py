"""What plugins may make of a result: reports in formats of their own, and sections of the report.

Both see an `AuditResult` and nothing else of the audit, so that `auditor report` can make them
again, long after and without the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditor.results import AuditResult

WriteReport = Callable[[AuditResult, Path], Path]
RenderSection = Callable[[AuditResult], str]


@dataclass(frozen=True)
class Reporter:
    """A report format. `write` is given the result and the run directory.

    It writes one file into the directory and returns its path. What it raises is told, and costs
    this report alone.
    """

    name: str
    write: WriteReport

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.write) or "").split("\n", 1)[0]


@dataclass(frozen=True)
class Section:
    """A section at the end of the HTML and PDF report. `render` is given the result.

    It returns simple HTML: text, lists, tables, and pictures as `data:` URIs. Whatever else it
    holds (scripts, styles, links out of the page) is left out, and open elements are closed.
    """

    name: str
    title: str
    render: RenderSection

    @property
    def summary(self) -> str:
        """The first line of the function's docstring; its title where it has none."""
        return (inspect.getdoc(self.render) or self.title).split("\n", 1)[0]


def reporter(*, name: str) -> Callable[[WriteReport], Reporter]:
    """Function decorator that says what users write in `formats` and after `--format`."""
    return lambda write: Reporter(name, write)


def section(*, name: str, title: str) -> Callable[[RenderSection], Section]:
    """Function decorator that names a section.

    Args:
        name: what users write in `disable` to leave it out.
        title: what stands above it and in the contents.
    """
    return lambda render: Section(name, title, render)
