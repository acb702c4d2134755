"""Describes a class whose dataclass fields are the keys a user may write for it in audit.toml."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

_DOC = "doc"


def param(default: Any = dataclasses.MISSING, doc: str = "") -> Any:
    """A dataclass field that says in one sentence what it is for.

    Args:
        default: its default; without one the user has to give it.
        doc: shown by `auditor show` and in the report.
    """
    return dataclasses.field(default=default, metadata={_DOC: doc})


@dataclass(frozen=True)
class Parameter:
    """One key: its name, type as text, default (absent if required), and what it is for."""

    name: str
    type: str
    required: bool
    default: Any
    doc: str


def _type_text(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(repr(choice) for choice in get_args(hint))
    if hasattr(hint, "__metadata__"):
        for part in hint.__metadata__:
            if type(part).__name__ == "PathKind":
                return str(part)
        bounds = [str(part) for part in hint.__metadata__ if type(part).__name__ in ("Gt", "Ge")]
        signs = {"Gt(gt=0)": " > 0", "Ge(ge=0)": " >= 0"}
        return _type_text(get_args(hint)[0]) + "".join(signs.get(bound, "") for bound in bounds)
    if get_origin(hint) is list:
        return f"list of {_type_text(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "table"
    if get_args(hint):
        return " | ".join(_type_text(part) for part in get_args(hint))
    return "none" if hint is type(None) else getattr(hint, "__name__", str(hint))


@dataclass(frozen=True)
class Spec:
    """A class that plugins offer, under the name users call it by."""

    name: str
    cls: type
    reference: str

    @property
    def summary(self) -> str:
        """The first line of the class's docstring."""
        return (inspect.getdoc(self.cls) or "").split("\n", 1)[0]

    @property
    def doc(self) -> str:
        """The whole docstring."""
        return inspect.getdoc(self.cls) or ""

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The keys a user may write, in the order of the class's fields."""
        hints = get_type_hints(self.cls, include_extras=True)
        return tuple(
            Parameter(
                name=field.name,
                type=_type_text(hints[field.name]),
                required=field.default is dataclasses.MISSING,
                default=None if field.default is dataclasses.MISSING else field.default,
                doc=field.metadata.get(_DOC, ""),
            )
            for field in dataclasses.fields(self.cls)
        )

    def build(self, parameters: dict[str, Any]) -> Any:
        """An instance with `parameters`, everything else at its default.

        Raises:
            pydantic.ValidationError: an unknown key, a wrong type or an impossible value.
        """
        from pydantic import ConfigDict, create_model

        hints = get_type_hints(self.cls, include_extras=True)
        fields: dict[str, Any] = {
            parameter.name: (
                hints[parameter.name],
                ... if parameter.required else parameter.default,
            )
            for parameter in self.parameters
        }
        config = ConfigDict(extra="forbid", strict=True)
        checked = create_model(self.name, __config__=config, **fields).model_validate(parameters)
        return self.cls(**{name: getattr(checked, name) for name in fields})
