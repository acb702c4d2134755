"""What a user may write for a plugin's class in audit.toml: its fields, and their types."""

from __future__ import annotations

import dataclasses
import inspect
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt
from pydantic import AllowInfNan, BeforeValidator

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
            if isinstance(part, PathKind):
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


def parse_number(value: Any) -> Any:
    """The float that `value` means if it is text such as "8/255" or "0.1"; else `value` itself.

    Raises:
        ValueError: the text is not a number or a fraction.
    """
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        number = float(numerator) / float(denominator) if slash else float(value)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is neither a number nor a fraction such as '8/255'")
    return number


PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
#: A positive length in pixel space; a fraction such as "2/255" is welcome.
PixelLength = Annotated[float, BeforeValidator(parse_number), Gt(0), AllowInfNan(False)]


@dataclass(frozen=True)
class PathKind:
    """Marks text as a path relative to audit.toml: of a file, a folder, or "file.py:callable"."""

    kind: Literal["file", "folder", "factory"]

    def __str__(self) -> str:
        """As `auditor show` writes it."""
        return "file.py:callable | module:callable" if self.kind == "factory" else self.kind


#: The path of a file that has to exist. The plugin is given it whole.
FilePath = Annotated[str, PathKind("file")]
#: The path of a folder that has to exist; `FilePath | FolderPath` takes either.
FolderPath = Annotated[str, PathKind("folder")]
#: "file.py:callable", whose file has to exist, or "package.module:callable".
FactoryPath = Annotated[str, PathKind("factory")]


def path_kinds(hint: Any) -> frozenset[str]:
    """What the path in a field of this type may name; empty if the field holds no path."""
    own = (part.kind for part in getattr(hint, "__metadata__", ()) if isinstance(part, PathKind))
    return frozenset(own).union(*(path_kinds(part) for part in get_args(hint)))
