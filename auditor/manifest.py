"""SHA256SUMS: hashes of a run's files, in the format that `sha256sum -c` reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from auditor.storage import storing, write_atomically

MANIFEST = "SHA256SUMS"
AUDIT, LOCK = "audit.json", "config.lock.toml"
SAMPLES, EXAMPLES = "samples.parquet", "adversarial.safetensors"
#: What an audit writes before its reports, which are views of it.
RESULTS = (AUDIT, LOCK, SAMPLES, EXAMPLES)
#: What goes on growing after the audit.
_GROWING = ("events.jsonl",)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def sha256_of(path: Path) -> str:
    """What `sha256sum` gives for a file.

    Raises:
        StorageError: it cannot be read.
    """
    with storing(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_text(hashes: Mapping[str, str]) -> str:
    """A line for each file name, in their order."""
    lines = []
    for name, digest in hashes.items():
        escaped = "".join(_ESCAPES.get(sign, sign) for sign in name)
        mark = "" if escaped == name else "\\"
        lines.append(f"{mark}{digest}  {escaped}\n")
    return "".join(lines)


def read_manifest(text: str) -> dict[str, str]:
    """Hashes by file name, of what `manifest_text` or `sha256sum` wrote.

    Raises:
        ValueError: a line is none of such a file.
    """
    found = {}
    for line in text.split("\n"):
        escaped = line.startswith("\\")
        digest, mark, name = line.removeprefix("\\").partition(" ")
        if not line:
            continue
        if len(digest) != 64 or not mark or name[:1] not in (" ", "*") or len(name) < 2:
            raise ValueError(f"{line[:100]!r} is no line of {MANIFEST}")
        name = name[1:]
        if escaped:
            name = name.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r")
            name = name.replace("\0", "\\")
        found[name] = digest.lower()
    return found


def listed(directory: Path) -> list[str]:
    """The files that SHA256SUMS of a run lists: all in the directory itself that grow no more."""
    with storing(directory, "read"):
        return sorted(
            path.name
            for path in directory.iterdir()
            if path.is_file() and not path.name.startswith(".")
            and path.name not in (MANIFEST, *_GROWING)
        )  # fmt: skip


def write_manifest(directory: Path) -> Path:
    """Write SHA256SUMS of the run in `directory` anew; to be done after its files have changed.

    Raises:
        StorageError: the disk refuses it, or a file cannot be read.
    """
    hashes = {name: sha256_of(directory / name) for name in listed(directory)}
    path = directory / MANIFEST
    write_atomically(path, manifest_text(hashes).encode("utf-8", "surrogateescape"))
    return path


def results_manifest(directory: Path, audit: bytes) -> str:
    """The manifest that a report carries: of what was there before it, as far as it is there.

    Args:
        audit: audit.json, of which the report is made.
    """
    hashes = {AUDIT: hashlib.sha256(audit).hexdigest()}
    for name in RESULTS:
        if name != AUDIT and (directory / name).is_file():
            hashes[name] = sha256_of(directory / name)
    return manifest_text(hashes)
