"""Run directories as notebooks and commands read them: `auditor.read(RUN)`.

docs/run-directory.md describes every column and every tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import UsageError, text_of
from auditor.manifest import AUDIT, EXAMPLES, LOCK, SAMPLES
from auditor.results import AuditResult, from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_PDF = b"%PDF-"


@dataclass(frozen=True)
class Examples:
    """The verified adversarial examples that one attack found under one threat.

    Attributes:
        ids: (m,) int64, positions of the clean images in the whole set, as in samples.parquet.
        x: (m, C, H, W), in [0, 1], of the precision in which they were verified.
    """

    model: str
    norm: str
    epsilon: float
    attack: str
    ids: NDArray[Any]
    x: NDArray[Any]


@dataclass(frozen=True)
class Run:
    """What lies in the directory of an audit that has ended, or the result that a PDF carries.

    Attributes:
        directory: None of a PDF, which has neither samples nor examples.
        raw: audit.json as it was written.
        lock: config.lock.toml, where there is one.
    """

    directory: Path | None
    result: AuditResult
    raw: bytes
    lock: bytes | None

    @cached_property
    def samples(self) -> pa.Table:
        """A row per model, threat, attack and image.

        Raises:
            UsageError: samples.parquet is missing or damaged; of a PDF, there is none.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._file(SAMPLES)
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    def _file(self, name: str) -> Path:
        if self.directory is None:
            raise UsageError(
                f"A PDF carries no {name}.",
                expected="the run directory, which has it",
                remedy="name the run directory of the audit",
            )
        return self.directory / name

    def examples(self) -> Iterator[Examples]:
        """Every stored adversarial example, an attack under a threat at a time.

        Raises:
            UsageError: adversarial.safetensors is missing or damaged; of a PDF, there is none.
        """
        from safetensors import SafetensorError, safe_open

        path = self._file(EXAMPLES)
        try:
            with safe_open(path, "np") as file:
                for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                    if name.endswith("/x"):
                        entry = name.removesuffix("/x")
                        model, norm, epsilon, attack = map(_plain, entry.split("/"))
                        ids, x = file.get_tensor(f"{entry}/id"), file.get_tensor(name)
                        yield Examples(model, norm, float(epsilon), attack, ids, x)
        except (OSError, ValueError, SafetensorError) as error:
            raise _unreadable(path, error) from error


def read(run: str | Path) -> Run:
    """The finished audit in the run directory `run`, or whose audit.json or PDF report it is.

    Raises:
        UsageError: there is no audit.json of this version.
    """
    named = Path(run)
    if is_pdf(named):
        carried = attachments(named)
        if AUDIT not in carried:
            raise _no_audit(named, ValueError("it carries none"))
        raw = carried[AUDIT]
        return Run(None, _result(named, raw), raw, carried.get(LOCK))
    directory = named.parent if named.name == AUDIT else named
    path = directory / AUDIT
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _no_audit(path, error) from error
    lock = directory / LOCK
    return Run(directory, _result(path, raw), raw, lock.read_bytes() if lock.is_file() else None)


def is_pdf(path: Path) -> bool:
    """Whether it is a PDF file, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(len(_PDF)) == _PDF
    except OSError:
        return False


def attachments(pdf: Path) -> dict[str, bytes]:
    """The files that a PDF carries, by name.

    Raises:
        UsageError: it cannot be read, or carries two files of one name.
    """
    from pypdf import PdfReader

    try:
        found = {name: list(contents) for name, contents in PdfReader(pdf).attachments.items()}
    except Exception as error:  # whatever the reader meets in a damaged file
        raise UsageError(
            "The PDF cannot be read.",
            where=str(pdf),
            expected=f"a report that `auditor` wrote ({text_of(error)})",
            remedy="take it from where the report was archived",
        ) from error
    for name, contents in found.items():
        if len(contents) > 1:
            raise UsageError(
                f"The PDF carries {len(contents)} files called {name}.",
                where=str(pdf),
                expected="one, as in a report that `auditor` wrote",
                remedy="take it from where the report was archived",
            )
    return {name: contents[0] for name, contents in found.items()}


def _result(path: Path, raw: bytes) -> AuditResult:
    try:
        return from_json(raw)
    except ValueError as error:
        raise _no_audit(path, error) from error


def _no_audit(path: Path, error: Exception) -> UsageError:
    return UsageError(
        "There is no audit to read.",
        where=str(path),
        expected=f"an audit.json of this version ({text_of(error)})",
        remedy="name the run directory of an audit that has ended, or its PDF report",
    )


def _plain(part: str) -> str:
    """A part of a tensor's name as it was before slashes and percent signs were written out."""
    return part.replace("%2F", "/").replace("%25", "%")


def _unreadable(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path.name} cannot be read.",
        where=str(path),
        expected=f"the file as the audit wrote it ({text_of(error)})",
        remedy="take it from where the run was archived, or run the audit again",
    )
