"""What the loaders of model libraries share: names of architectures, arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.api import LoadError


def known(architecture: str, names: Sequence[str], library: str) -> None:
    """Refuse the name of an architecture that the library does not have.

    Raises:
        LoadError: it has none of that name.
    """
    if architecture in names:
        return
    close = difflib.get_close_matches(architecture, names, n=3, cutoff=0.5)
    raise LoadError(
        f"{library} has no classifier called {architecture!r}.",
        where="[[model]] architecture",
        expected=f"one of {library}'s {len(names)} names",
        remedy=f"did you mean {', '.join(close)}?" if close else f"such as {names[0]}",
    )


def without(kwargs: Mapping[str, Any] | None, forbidden: str) -> dict[str, Any]:
    """The arguments, without the one that would download weights.

    Raises:
        LoadError: it is among them.
    """
    if forbidden in (kwargs or {}):
        raise LoadError(
            f"`kwargs` cannot hold {forbidden!r}: an audit downloads nothing.",
            where="[[model]] kwargs",
            expected="weights from a file",
            remedy='remove it, save the state_dict once, and write weights = "file.safetensors"',
        )
    return dict(kwargs or {})
