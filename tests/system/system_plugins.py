"""Plugins as people have them: files, and packages that are installed somewhere on the path."""

from __future__ import annotations

from pathlib import Path

import pytest


def install(folder: Path, patch: pytest.MonkeyPatch, **plugins: str) -> None:
    """A distribution `acme-audit` in `folder`, one module and entry point for each text.

    What an installer leaves behind is a folder of metadata beside the modules; so is this.
    """
    folder.mkdir(exist_ok=True)
    metadata = folder / "acme_audit-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-audit\nVersion: 1.2\n")
    entries = [f"{name} = acme_{name}" for name in plugins]
    (metadata / "entry_points.txt").write_text("\n".join(["[auditor]", *entries]))
    for name, text in plugins.items():
        (folder / f"acme_{name}.py").write_text(text, encoding="utf-8")
        patch.delitem("sys.modules", f"acme_{name}", raising=False)
    patch.syspath_prepend(folder)


NORM = '''
from auditor.api import hookimpl


class Levels:
    """The largest change of any pixel, in grey levels."""

    name = "levels"

    def distance(self, x, x0):
        return 255 * (x.double() - x0.double()).flatten(1).abs().amax(1)

    def project(self, x, x0, radius):
        return (x - x0).clamp(-radius / 255, radius / 255).add(x0).clamp(0, 1)

    def sample(self, x0, radius, noise):
        return self.project(x0 + radius / 255 * (2 * noise.uniform(*x0.shape[1:]) - 1), x0, radius)

    def steepest(self, x, gradient, length):
        return (x + length / 255 * gradient.sign()).clamp(0, 1)


@hookimpl
def auditor_norms():
    return [Levels()]
'''

SURROGATES = '''
from auditor.api import hookimpl, surrogate


@surrogate(name="thrice")
def thrice(own):
    """The model's own autograd, averaged over three evaluations."""
    return own.averaged(3)


@surrogate(name="raises")
def raises(own):
    raise OSError("no weights")


@surrogate(name="other-thing")
def other_thing(own):
    return own.model


@hookimpl
def auditor_surrogates():
    return [thrice, raises, other_thing]
'''

REPORTS = '''
from auditor.api import hookimpl, reporter, section


@reporter(name="csv")
def csv(result, directory):
    """Robust accuracies, a line per model and threat."""
    path = directory / "accuracies.csv"
    rows = [(m.name, t.norm, t.robust.correct) for m in result.models for t in m.threats]
    path.write_text("".join(",".join(map(str, row)) + "\\n" for row in rows))
    return path


@reporter(name="broken-format")
def broken_format(result, directory):
    return directory / "never-written"


@section(name="notes", title="Deployment <notes>")
def notes(result):
    return f"<p>Audited: <b>{result.models[0].name}<script>alert(1)</script></section></main>"


@section(name="nothing", title="Nothing to show")
def broken(result):
    return 1 / 0


@hookimpl
def auditor_reports():
    return [csv, broken_format]


@hookimpl
def auditor_sections():
    return [notes, broken]
'''

SINKS = """
from pathlib import Path

from auditor.api import hookimpl, sink


@sink(name="fragile")
def fragile(event):
    raise ValueError("no connection")


@sink(name="tracker")
def tracker(event):
    with Path("events.txt").open("a") as file:
        file.write(type(event).__name__ + "\\n")


@hookimpl
def auditor_sinks():
    return [fragile, tracker]
"""

COMMAND = '''
import typer

from auditor.api import LoadError, hookimpl

app = typer.Typer(name="hello", help="Greets.")


@app.command()
def hello(name: str, trouble: str = ""):
    """Greets."""
    if trouble == "known":
        raise LoadError("The greeting is lost.", remedy="find it")
    if trouble == "unknown":
        raise RuntimeError("lost for words")
    print("hello", name)


@hookimpl
def auditor_commands():
    return [app]
'''
