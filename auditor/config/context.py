"""What every part of the resolution needs: where it is, what is available, and where faults go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from auditor.config.expected import fields_of
from auditor.config.positions import KeyPath
from auditor.config.problems import Problems, listed, shown
from auditor.errors import LoadError, UsageError, did_you_mean, nearest, text_of
from auditor.parameters import Spec
from auditor.registry import Registry
from auditor.usercode.calls import blamed


def neighbour(missing: Path) -> str:
    """The name beside a missing file that was probably meant."""
    if not missing.parent.is_dir():
        return f"there is no directory {shown(missing.parent.name)} there either"
    return did_you_mean(missing.name, sorted(entry.name for entry in missing.parent.iterdir()))


@dataclass(frozen=True)
class Context:
    """A configuration on its way to an `AuditConfig`.

    Attributes:
        directory: what paths are relative to.
        plugins_known: whether [plugins] could be read, so that unknown names are faults.
    """

    directory: Path
    registry: Registry
    problems: Problems
    plugins_known: bool = True

    def file(self, path: KeyPath, text: str, *, what: str) -> Path:
        """The absolute path of a file, which has to exist."""
        found = (self.directory / text).absolute()
        if not found.is_file():
            state = "is a directory" if found.is_dir() else "does not exist"
            self.problems.add(
                path,
                f"The file {shown(text)} {state}.",
                expected=f"{what}, relative to the directory of {self.problems.source.path.name}",
                remedy=neighbour(found),
            )
        return found

    def source(self, path: KeyPath, name: str) -> Path | str:
        """A Python file, which has to exist: also a module's in the directory; else its name."""
        if name.endswith(".py"):
            return self.file(path, name, what="a Python file")
        found = self.directory.joinpath(*name.split(".")).absolute()
        files = (found / "__init__.py", found.with_name(f"{found.name}.py"))
        return next((file for file in files if file.is_file()), name)

    def unknown(self, path: KeyPath, kind: str, name: str, known: Iterable[str]) -> None:
        """Note a name that no plugin offers, and which plugin may be the reason."""
        if not self.plugins_known:
            return
        known = sorted(known)
        if name in self.registry.blocked:
            self.problems.add(
                path,
                f'The {kind} "{name}" is disabled.',
                expected="one that [plugins] disable does not leave out",
                remedy=f'take "{name}" out of [plugins] disable',
            )
            return
        what = f'There is no {kind} called "{name}".'
        suspects = self.registry.suspects(name)
        if suspects:  # whatever else has a near name, this is what is meant
            broken = [f'plugin "{it.name}", which names it, is broken: {it.detail}'
                      for it in suspects]  # fmt: skip
            self.problems.add(
                path,
                f"{what[:-1]}; {'; '.join(broken)}.",
                expected=listed(known),
                remedy="; ".join(it.remedy for it in suspects),
                kind=LoadError,
            )
            return
        close = nearest(name, known)
        plugins = self.registry.plugins
        broken = [f'plugin "{it.name}" is broken: {it.detail}' for it in self.registry.broken]
        blocked = [f'plugin "{it.name}" is disabled' for it in plugins if it.status == "blocked"]
        remedies = [f'did you mean "{close}"?'] if close else []
        self.problems.add(
            path,
            what,
            expected=listed(known),
            remedy="; ".join(remedies + broken + blocked),
            # Without a near name, what is meant is probably what could not be loaded.
            kind=LoadError if broken and not close else UsageError,
        )

    def parameters(
        self, path: KeyPath, spec: Spec, given: dict[str, Any], heading: str
    ) -> dict[str, Any] | None:
        """All parameters of a plugin's class as plain JSON values; None if `given` does not fit.

        Args:
            heading: how to call it.
        """
        try:
            built = spec.build(given)
        except ValidationError as error:
            self.problems.add_invalid(path, given, error, fields_of(spec.cls), heading)
            return None
        except Exception as error:  # the plugin's own code ran
            self.problems.add(
                path,
                f"{heading} refuses its parameters: "
                f"{text_of(error) if isinstance(error, ValueError) else blamed(error)}.",
                expected=f"parameters as `auditor show {spec.name}` lists them",
            )
            return None
        values = {field.name: getattr(built, field.name) for field in dataclasses.fields(spec.cls)}
        plain: dict[str, Any] = to_jsonable_python(values)
        return plain
