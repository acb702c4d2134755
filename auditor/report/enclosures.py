"""The files that the PDF carries: the result, what was asked for, and hashes of the run's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from auditor.manifest import AUDIT, LOCK, MANIFEST, results_manifest
from auditor.storage import storing


@dataclass(frozen=True)
class Enclosure:
    """A file attached to the PDF; what it is to the document, in the words of ISO 32000-2."""

    name: str
    description: str
    relationship: str
    content: bytes


def enclosures_of(directory: Path, audit: bytes) -> tuple[Enclosure, ...]:
    """audit.json as it was read, the locked configuration if there is one, and SHA256SUMS.

    SHA256SUMS is of the files that were there before the reports: no file can hold its own hash.

    Raises:
        StorageError: a file of the run cannot be read.
    """
    found = [Enclosure(AUDIT, "The result that this report is a view of", "Data", audit)]
    lock = directory / LOCK
    if lock.is_file():
        with storing(lock, "read"):
            locked = lock.read_bytes()
        said = "The configuration of the audit, with every default written out"
        found.append(Enclosure(LOCK, said, "Source", locked))
    hashes = results_manifest(directory, audit).encode()
    said = "SHA-256 of the files of the run that were there before its reports"
    found.append(Enclosure(MANIFEST, said, "Supplement", hashes))
    return tuple(found)
