"""Says in words which values a type hint admits."""

from __future__ import annotations

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator

from auditor.parameters import parse_number
from auditor.schema.values import Expects

_WORDS = {
    int: "an integer",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
    dict: "a table",
}
_SIGNS = ((Gt, "gt", ">"), (Ge, "ge", ">="), (Lt, "lt", "<"), (Le, "le", "<="))


def expected(hint: Any) -> str:
    """What a value of this type is called, such as "an integer > 0"."""
    if hasattr(hint, "__metadata__"):
        return _annotated(get_args(hint)[0], hint.__metadata__)
    if get_origin(hint) is Literal:
        choices = [json.dumps(choice) for choice in get_args(hint)]
        return choices[0] if len(choices) == 1 else f"one of: {', '.join(choices)}"
    if get_origin(hint) in (list, tuple):
        return f"a list, each {expected(get_args(hint)[0])}"
    if get_origin(hint) in (Union, types.UnionType):
        # TOML has no null: who wants none leaves the key out.
        parts = [expected(part) for part in get_args(hint) if part is not type(None)]
        return ", or ".join(parts)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return f"a table with {' and '.join(hint.model_fields)}"
    return _WORDS.get(get_origin(hint) or hint, getattr(hint, "__name__", str(hint)))


def _annotated(base: Any, metadata: tuple[Any, ...]) -> str:
    for part in metadata:
        if isinstance(part, Expects):
            return part.text
    bounds = {
        sign: getattr(part, name)
        for part in metadata
        for kind, name, sign in _SIGNS
        if isinstance(part, kind)
    }
    words = expected(base)
    if bounds.keys() == {">=", "<="}:
        words += f" from {bounds['>=']} to {bounds['<=']}"
    else:
        words += "".join(f" {sign} {bound}" for sign, bound in bounds.items())
    reads_fractions = any(
        isinstance(part, BeforeValidator) and part.func is parse_number for part in metadata
    )
    return words + (', or a fraction as text such as "8/255"' if reads_fractions else "")


def choices(hint: Any) -> list[str]:
    """The texts that a type hint lists."""
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if isinstance(choice, str)]
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        return [text for part in get_args(hint) for text in choices(part)]
    return []


def remedies(hint: Any, given: Any) -> list[str]:
    """What a type hint knows to say about a value that does not fit it."""
    own = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Expects)]
    said = [text for part in own if (text := part.remedy(given))]
    inner = get_args(hint) if get_origin(hint) is not Literal else ()
    return said + [text for part in inner for text in remedies(part, given)]


def fields_of(cls: type) -> dict[str, Any]:
    """The keys of a table or of a plugin's class, with their type hints."""
    hints = get_type_hints(cls, include_extras=True)
    if issubclass(cls, BaseModel):
        return {name: hints[name] for name in cls.model_fields}
    return {name: hints[name] for name in getattr(cls, "__dataclass_fields__", {})}


def hint_at(hint: Any, part: str | int) -> Any:
    """The type hint of what lies at `part` inside a value of type `hint`, if it says one."""
    if isinstance(hint, dict):
        return hint.get(part)
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return fields_of(hint).get(str(part))
    if get_origin(hint) is list and isinstance(part, int):
        return get_args(hint)[0]
    if get_origin(hint) is dict:
        return get_args(hint)[1]
    if get_origin(hint) in (Union, types.UnionType):
        found = [hint_at(option, part) for option in get_args(hint)]
        return next((option for option in found if option is not None), None)
    return hint_at(get_args(hint)[0], part) if hasattr(hint, "__metadata__") else None
