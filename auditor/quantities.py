"""Values as people write them in audit.toml: 0.03, "8/255", the path of a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt
from pydantic import AllowInfNan, BeforeValidator


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
