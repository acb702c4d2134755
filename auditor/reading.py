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
from auditor.results import AuditResult, from_json

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_RESULT, _SAMPLES, _EXAMPLES = "audit.json", "samples.parquet", "adversarial.safetensors"


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
    """What lies in the directory of an audit that has ended."""

    directory: Path
    result: AuditResult
    #: audit.json as it lies on the disk.
    raw: bytes

    @cached_property
    def samples(self) -> pa.Table:
        """A row per model, threat, attack and image.

        Raises:
            UsageError: samples.parquet is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / _SAMPLES
        try:
            return pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error

    def examples(self) -> Iterator[Examples]:
        """Every stored adversarial example, an attack under a threat at a time.

        Raises:
            UsageError: adversarial.safetensors is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = self.directory / _EXAMPLES
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
    """The finished audit in the run directory `run`, or whose audit.json it is.

    Raises:
        UsageError: there is no audit.json of this version.
    """
    named = Path(run)
    directory = named.parent if named.name == _RESULT else named
    path = directory / _RESULT
    try:
        raw = path.read_bytes()
        return Run(directory, from_json(raw), raw)
    except (OSError, ValueError) as error:
        raise UsageError(
            "There is no audit to read.",
            where=str(path),
            expected=f"an audit.json of this version ({text_of(error)})",
            remedy="name the run directory of an audit that has ended",
        ) from error


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
