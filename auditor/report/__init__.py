"""Reports: views of audit.json, and of nothing else.

Importing this package is cheap: what renders is imported when something is rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from auditor.errors import LoadError, SeveralLoadsError, UsageError, text_of
from auditor.language import ENGLISH, languages, letters_of, speaking
from auditor.manifest import AUDIT, EXAMPLES, LOCK, MANIFEST, SAMPLES, write_manifest
from auditor.printable import with_texts
from auditor.protocols.reporting import Reporter, Section
from auditor.report.enclosures import Enclosure, enclosures_of
from auditor.results import AuditResult, from_json
from auditor.storage import StorageError, write_atomically
from auditor.usercode.calls import blamed, with_traceback

__all__ = ["FORMATS", "ReportSource", "Writer", "write_reports"]


def _nobody(text: str) -> None:
    """Is told, and passes nothing on."""


@dataclass(frozen=True)
class ReportSource:
    """What every report is made from."""

    result: AuditResult
    #: audit.json as it lies on the disk.
    raw: bytes
    #: Of plugins, with the plugin's name.
    sections: tuple[tuple[Section, str], ...] = ()
    #: Is told what readers of a report should know of how it was made.
    tell: Callable[[str], None] = field(default=_nobody, compare=False)
    #: The run directory, for the tracebacks of what plugins raise.
    directory: Path = field(default=Path(), compare=False)
    #: Which the report is written in; empty for the one that the audit asked for.
    language: str = ""

    @classmethod
    def read(
        cls,
        run_directory: Path,
        sections: Sequence[tuple[Section, str]] = (),
        tell: Callable[[str], None] = _nobody,
        language: str = "",
    ) -> ReportSource:
        """The source of the reports on the audit in `run_directory`.

        Raises:
            UsageError: there is no readable audit.json.
        """
        path = run_directory / "audit.json"
        try:
            raw = path.read_bytes()
            return cls(from_json(raw), raw, tuple(sections), tell, run_directory, language)
        except (OSError, ValueError) as error:
            raise UsageError(
                "There is no audit to report on.",
                where=str(path),
                expected=f"an audit.json of this version ({text_of(error)})",
                remedy="name the run directory of an audit that has ended",
            ) from error

    @cached_property
    def enclosures(self) -> tuple[Enclosure, ...]:
        """The files that the PDF carries."""
        return enclosures_of(self.directory, self.raw)

    @cached_property
    def spoken(self) -> str:
        """The language of the report: English where there is no catalogue of the one asked for."""
        wanted = self.language or self.result.language
        if wanted in languages():
            return wanted
        self.tell(f"the reports are in English: there is no catalogue of the language {wanted!r}")
        return ENGLISH

    @cached_property
    def page(self) -> str:
        """The HTML report, which the PDF is set from too."""
        from auditor.report import html
        from auditor.report.plugin_sections import plugin_sections

        appended = plugin_sections(self.result, self.sections)
        for one in appended:
            if one.raised is not None:
                what = f"the section {one.title!r} of the plugin {one.plugin} is missing"
                said = with_traceback(f"{what}: {one.failure}", one.raised, self.directory)
                self.tell(said)
        with speaking(self.spoken):
            return html.render(self.result, self.raw, appended)


def write_html(source: ReportSource, directory: Path) -> Path:
    """Write report.html into `directory`."""
    return _write(directory / "report.html", source.page.encode("utf-8"))


def write_pdf(source: ReportSource, directory: Path) -> Path:
    """Write report.pdf into `directory`; in English where no font has the language's letters.

    Raises:
        LoadError: Pango is missing.
    """
    from auditor.report import letters, pdf

    content, lacking = pdf.render(source.result.provenance.started, source.enclosures, source.page)
    note = ""
    if own := lacking & letters_of(source.spoken):
        note = letters.in_english(source.spoken, own)
        source.tell(f"report.pdf: {note}")
        source = replace(source, language=ENGLISH)
        content, lacking = _set_again(source, frozenset(), note)
    if lacking:
        source.tell(f"report.pdf: {letters.note(lacking)}")
        content, _ = _set_again(source, lacking, note)
    return _write(directory / "report.pdf", content)


def _set_again(
    source: ReportSource, lacking: frozenset[str], note: str
) -> tuple[bytes, frozenset[str]]:
    """The PDF with the letters that no font has written out; its first page says so, after `note`.

    With it the letters that are lacking all the same.
    """
    from auditor.report import html, letters, pdf
    from auditor.report.plugin_sections import plugin_sections

    table = letters.table(lacking)
    result = with_texts(source.result, lambda text: text.translate(table))
    appended = plugin_sections(result, source.sections)
    with speaking(source.spoken):
        more = letters.note(lacking, without=True) if lacking else ""
        page = html.render(result, source.raw, appended, f"{note} {more}".strip())
    # Sections of plugins have texts of their own. Pictures are base64, and so ASCII.
    return pdf.render(result.provenance.started, source.enclosures, page.translate(table))


#: What no plugin's format may touch: small files are put back, of large ones it is told.
_RESULTS = (AUDIT, LOCK, MANIFEST, "report.html", "report.pdf")
_DATA = (SAMPLES, EXAMPLES, "events.jsonl")

#: Writes one report into a directory and returns its path.
Writer = Callable[[ReportSource, Path], Path]

#: The formats by name, in the order in which they are written.
FORMATS: Mapping[str, Writer] = MappingProxyType({"html": write_html, "pdf": write_pdf})


def write_reports(
    run_directory: Path,
    formats: Sequence[str],
    reporters: Mapping[str, Reporter] = MappingProxyType({}),
    sections: Sequence[tuple[Section, str]] = (),
    tell: Callable[[str], None] = _nobody,
    wrote: Callable[[Path], None] = lambda path: None,
    language: str = "",
) -> list[Path]:
    """Render audit.json in `run_directory` in each of `formats`, beside it; SHA256SUMS comes last.

    Args:
        formats: names of `FORMATS` and `reporters`; who asks for them has been told of others.
        reporters: further formats, those of plugins.
        sections: what plugins add to the HTML and PDF report, with each plugin's name.
        tell: is told what readers should know of how a report was made.
        wrote: is given each file as soon as it is there.
        language: of the reports, one of `languages()`; empty for the one that the audit asked for.

    Returns:
        The files written, those of `FORMATS` first.

    Raises:
        UsageError: there is no audit; nothing was written.
        LoadError: some formats could not be written; all the others were. A StorageError where
            the disk refused one of them.
    """
    writers = {**FORMATS, **{name: _of_plugin(one) for name, one in reporters.items()}}
    wanted = sorted(set(formats), key=list(writers).index)
    source = ReportSource.read(run_directory, sections, tell, language)
    written: list[Path] = []
    missing: list[LoadError] = []
    for name in wanted:
        try:
            written.append(writers[name](source, run_directory))
            wrote(written[-1])
        except LoadError as error:
            missing.append(error)
    try:
        write_manifest(run_directory)
    except StorageError as error:
        missing.append(error)
    if len(missing) > 1:
        full = any(isinstance(error, StorageError) for error in missing)
        if full:
            raise StorageError("\n\n".join(error.render() for error in missing))
        raise SeveralLoadsError(missing)
    if missing:
        raise missing[0]
    return written


def _of_plugin(reporter: Reporter) -> Writer:
    """A plugin's format as one of ours, whatever it does."""

    def write(source: ReportSource, directory: Path) -> Path:
        kept = {name: _content(directory / name) for name in _RESULTS}
        states = {name: _state(directory / name) for name in _DATA}
        try:
            # A result of its own: what it holds may be changed, though its fields may not.
            path = Path(reporter.write(from_json(source.raw), directory))
            if not path.is_file():
                raise FileNotFoundError(f"it returned {path}, where there is no file")
            if path.name in (*_RESULTS, *_DATA) and path.parent.samefile(directory):
                raise PermissionError(f"it wrote {path.name}, which is not its own")
        except (KeyboardInterrupt, LoadError):
            raise
        except BaseException as error:  # a plugin may raise anything
            why = with_traceback(blamed(error), error, directory)
            raise LoadError(
                f"The report format {reporter.name!r} failed: {why}",
                where=str(directory),
                expected="a file in the run directory; the other reports were written",
                remedy="mend the plugin that offers it, then `auditor report RUN_DIR --format "
                f"{reporter.name}`",
            ) from error
        finally:
            changed = [name for name, old in kept.items() if _content(directory / name) != old]
            for name in changed:
                _restore(directory / name, kept[name])
        if changed:
            raise LoadError(
                f"The report format {reporter.name!r} changed {', '.join(changed)}.",
                expected="a file of its own in the run directory, and nothing else touched",
                remedy="what it changed was put back as it was; tell the plugin's author",
            )
        if spoilt := [name for name, old in states.items() if _state(directory / name) != old]:
            raise LoadError(
                f"The report format {reporter.name!r} changed {', '.join(spoilt)}.",
                where=str(directory),
                expected="a file of its own in the run directory, and nothing else touched",
                remedy="do not use this run's tables and examples; tell the plugin's author, and "
                "run the audit again without the format, with --fresh",
            )
        return path

    return write


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _state(path: Path) -> tuple[int, int, int] | None:
    """What a file's content cannot change without, unless somebody takes pains."""
    if not path.is_file():
        return None
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _restore(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        _write(path, content)


def _write(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all, readable for whom the user's umask lets."""
    write_atomically(path, content)
    return path
