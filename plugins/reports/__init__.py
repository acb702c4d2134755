"""Report formats that other tools read, and what a job of GitHub Actions is told."""

from auditor.api import Reporter, Sink, hookimpl

from .github import github
from .junit import junit
from .markdown import markdown
from .model_card import model_card
from .sarif import sarif


@hookimpl
def auditor_reports() -> list[Reporter]:
    """The formats of this package."""
    return [markdown, junit, sarif, model_card]


@hookimpl
def auditor_sinks() -> list[Sink]:
    """Annotations and the job summary."""
    return [github]
