"""The user's files that an audit was made of, with the hashes that `sha256sum` gives for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_type_hints

from auditor.cells.inputs import Loaded
from auditor.config import AuditConfig, ModelConfig
from auditor.manifest import sha256_of
from auditor.parameters import path_kinds
from auditor.registry import Registry
from auditor.registry.plugin_sources import is_file
from auditor.results import FileRecord, FileRole
from auditor.usercode.reachable import own_files

#: A folder of data with more files is not listed: what is audited of it has a hash of its own.
_MOST_FILES = 64

#: role, model, file, whether audit.toml has its path from the root.
_Found = tuple[FileRole, str | None, Path, bool]


def file_records(
    config: AuditConfig, registry: Registry, models: Mapping[str, Loaded]
) -> tuple[FileRecord, ...]:
    """Configuration, weights, code, data and plugins, each file once for each of its roles.

    Raises:
        StorageError: a file that the audit has just read cannot be read any more.
    """
    hashes: dict[Path, str] = {}
    records: dict[FileRecord, None] = {}
    for role, model, file, from_root in _files(config, registry, models):
        path = file.absolute()
        if path not in hashes:
            hashes[path] = sha256_of(path)
        name = path if from_root else Path(os.path.relpath(path, config.directory.absolute()))
        records[FileRecord(role, name.as_posix(), hashes[path], model)] = None
    return tuple(records)


def _files(
    config: AuditConfig, registry: Registry, models: Mapping[str, Loaded]
) -> Iterator[_Found]:
    if config.path.is_file():  # the self-test's has none
        yield "configuration", None, config.path, False
    for model in config.models:
        yield from _of_model(model, models[model.name].sources)
    yield from _of_data(config, registry)
    for text in config.plugins.paths:
        source = (config.directory / text).absolute() if is_file(text) else text
        for file in own_files(source):
            yield "plugin", None, file, os.path.isabs(text)


def _of_model(model: ModelConfig, sources: Iterable[Path | str]) -> Iterator[_Found]:
    for key, written in (("weights", model.weights), ("checkpoint", model.checkpoint)):
        if written is not None:
            yield "weights", model.name, model.paths[key], os.path.isabs(written)
    texts = [text for text in (model.factory, model.bpda, *model.written.values())
             if isinstance(text, str)]  # fmt: skip
    from_root = any(map(os.path.isabs, texts))
    bpda = [model.paths["bpda"]] if model.bpda else []
    for source in (*sources, *bpda):
        if isinstance(source, str) or source.suffix == ".py":
            for file in own_files(source):
                yield "code", model.name, file, from_root
        else:  # all that a fingerprint covers
            for file in sorted(source.iterdir()) if source.is_dir() else [source]:
                if file.is_file():
                    yield "weights", model.name, file, from_root


def _of_data(config: AuditConfig, registry: Registry) -> Iterator[_Found]:
    data = config.data
    hints = get_type_hints(registry.data[data.adapter].cls, include_extras=True)
    for key, value in data.parameters.items():
        if not isinstance(value, str):
            continue
        from_root = os.path.isabs(data.written[key])
        if "factory" in path_kinds(hints[key]):
            text = value.rpartition(":")[0]
            for file in own_files(Path(text) if is_file(text) else text):
                yield "code", None, file, from_root
        elif path_kinds(hints[key]) or key == "path":
            for file in _in(Path(value)):
                yield "data", None, file, from_root


def _in(path: Path) -> list[Path]:
    """A file itself; those below a folder, where they are few."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    found: list[Path] = []
    for file in path.rglob("*"):
        if file.is_file():
            found.append(file)
        if len(found) > _MOST_FILES:
            return []
    return sorted(found)
