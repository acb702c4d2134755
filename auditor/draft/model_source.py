"""What a text of the command line says of a model, by what exists: keys of [[model]].

Files are looked into, never loaded: the names in an archive tell what wrote it.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from auditor.config.expected import fields_of
from auditor.errors import UsageError
from auditor.parameters import Spec, path_kinds
from auditor.registry import Registry

#: Which loader reads a file that is not there, or is no archive, by its ending.
_ENDINGS = {".onnx": "onnx", ".pt2": "torch-export"}
#: What only one of torch's writers puts into an archive.
_MARKS = {
    "constants.pkl": "torchscript",
    "archive_format": "torch-export",
    "serialized_exported_program.json": "torch-export",
}
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
#: Loaders of libraries: an architecture without weights is no model.
LIBRARIES = ("timm", "torchvision")


def model_keys(text: str, path: Path, registry: Registry) -> dict[str, str]:
    """The keys of [[model]] that `text` stands for.

    Args:
        text: "file.py:callable", "package.module:callable", a file, a folder, or "loader:what".
        path: the audit.toml, beside which the paths of its keys begin.

    Raises:
        UsageError: it is the file of weights alone.
    """
    loader = _of_folder(text) or _of_file(text)
    if loader:
        return {"loader": loader, "path": beside(text, path)}
    prefix, colon, rest = text.partition(":")
    spec = registry.models.get(prefix)
    if colon and spec and not _is_module(prefix, path):
        key, is_path = _first(spec)
        return {"loader": prefix, key: beside(rest, path) if is_path else rest}
    source, colon, name = text.rpartition(":")
    is_file = colon and source.endswith(".py")
    return {"factory": f"{beside(source, path)}:{name}" if is_file else text}


def beside(text: str, path: Path) -> str:
    """A path that is relative to the working directory, as `path`'s neighbours call it."""
    if os.path.isabs(text):
        return text
    return Path(os.path.relpath(text, path.absolute().parent)).as_posix()


def _of_folder(text: str) -> str:
    return "huggingface" if (Path(text) / "config.json").is_file() else ""


def _of_file(text: str) -> str:
    """The loader of a file; empty where it is no model's."""
    file, ending = Path(text), Path(text).suffix.lower()
    if not file.is_file():
        return _ENDINGS.get(ending, "torchscript" if ending in (".pt", ".pth") else "")
    names = _names(file)
    found = [loader for mark, loader in _MARKS.items() if mark in names]
    if not found and ending in _WEIGHTS:
        raise UsageError(
            f"{text} holds weights, and not the model that they belong to.",
            where=f"--model {text}",
            expected="a function that makes the model, a TorchScript archive, a program of "
            "torch.export, an ONNX file, or the name of an architecture",
            remedy=f"--model my_model.py:make --weights {text}, or --model torchvision:resnet18 "
            f"--weights {text}",
        )
    return found[0] if found else _ENDINGS.get(ending, "")


def _names(file: Path) -> set[str]:
    """What is in an archive, without the folder that torch puts around everything."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.partition("/")[2] for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


def _is_module(name: str, path: Path) -> bool:
    """Whether a module of that name lies beside the audit.toml, which comes before a loader."""
    folder = path.absolute().parent
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _first(spec: Spec) -> tuple[str, bool]:
    """The key that a loader cannot do without, and whether it names a path."""
    names = [one.name for one in spec.parameters if one.required] or ["path"]
    hints = fields_of(spec.cls)
    return names[0], names[0] in hints and bool(path_kinds(hints[names[0]]))
