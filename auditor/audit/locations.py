"""Lines of the user's code that a result is about, by paths that are the same on every machine."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from auditor.config import AuditConfig, ModelConfig
from auditor.results import Finding, Location
from auditor.usercode.reachable import code_files

_FACTORIES = ("factory", "bpda")


@dataclass(frozen=True)
class Sources:
    """The code of one model that lies below `root`.

    Attributes:
        root: of the repository that audit.toml lies in; where it lies in none, its directory.
        files: what its factory can reach.
        factory: where it is defined; None where a loader makes the model.
    """

    root: Path
    files: tuple[Path, ...]
    factory: Location | None

    @classmethod
    def of(cls, config: AuditConfig, model: ModelConfig) -> Sources:
        """Those of one of the models of a configuration."""
        root = root_of(config.directory)
        begin = [file for key in _FACTORIES if (file := _file(model.paths.get(key)))]
        reached = dict.fromkeys(one for file in begin for one in code_files(file))
        files = tuple(one for one in reached if one.is_relative_to(root))
        factory = None
        if model.factory and begin and begin[0] in files:
            line = _line_of(begin[0], model.factory.rpartition(":")[2])
            factory = Location(_below(begin[0], root), line)
        return cls(root, files, factory)

    def locate(self, text: str | None) -> Location | None:
        """The line that a text names as "model.py:31".

        None where it names none of the files, or where several have that name.
        """
        named = [(file, found[1]) for file in self.files if (found := _mention(file, text or ""))]
        most = max((len(file.name) for file, _ in named), default=0)
        longest = [(file, line) for file, line in named if len(file.name) == most]
        if len(longest) != 1:
            return None
        file, line = longest[0]
        return Location(_below(file, self.root), int(line))

    def located(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """The findings, each with the line that its evidence names."""
        return tuple(replace(one, location=self._first(one.evidence)) for one in findings)

    def _first(self, texts: Sequence[str]) -> Location | None:
        return next(filter(None, map(self.locate, texts)), None)


def _mention(file: Path, text: str) -> re.Match[str] | None:
    """Where a text has the name of a file and a line of it."""
    return re.search(rf"(?<!\S){re.escape(file.name)}:(\d+)", text)


def root_of(directory: Path) -> Path:
    """The root of the repository around a directory; the directory itself where there is none."""
    directory = directory.absolute()
    around = (directory, *directory.parents)
    return next((one for one in around if (one / ".git").exists()), directory)


def place_of(config: AuditConfig) -> str:
    """The configuration file, from the root of its repository."""
    path = config.path.absolute()
    return _below(path, root_of(path.parent))


def _below(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _file(source: object) -> Path | None:
    """The file of a factory, which is one or the name of a module."""
    if isinstance(source, Path):
        return source.absolute()
    if not isinstance(source, str):
        return None
    try:
        spec = importlib.util.find_spec(source)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


def _line_of(file: Path, name: str) -> int:
    """Where a file defines what it calls `name`, which may have dots; its first line if nowhere."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return 1
    line = 1
    for part in name.split("."):
        found = next((node for node in body if part in _defined(node)), None)
        if found is None:
            break
        line, body = found.lineno, getattr(found, "body", [])
    return line


def _defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
