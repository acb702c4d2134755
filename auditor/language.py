"""The language that a report is written in: English, or that of a gettext catalogue.

Words are marked where they stand: `_("...")` and `ngettext` in Python, `{% trans %}` and `_` in
templates. Words in tables are marked by `N_` and translated when they are read (`Words`). A
catalogue is a file `auditor_report_templates/locale/LANGUAGE/LC_MESSAGES/auditor.po`; it is read as
it is, so that there is nothing to compile. What it lacks stays English.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

ENGLISH = "en"
#: The context of texts that stand in audit.json.
RESULT = "result"

_K = TypeVar("_K")
_DOMAIN = "auditor"


_SPOKEN: ContextVar[str] = ContextVar("spoken", default=ENGLISH)


def languages() -> tuple[str, ...]:
    """The languages that there are, English first."""
    found = (one.name for one in _folder().iterdir() if _file(one.name).is_file())
    return (ENGLISH, *sorted(found))


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """All words are in `language`, one of `languages()`, until the block ends."""
    before = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(before)


def spoken() -> str:
    """The language spoken now."""
    return _SPOKEN.get()


def tag() -> str:
    """The same as HTML names it, with its script or country: what fonts are chosen by."""
    return _catalogue(spoken()).info().get("language", ENGLISH).replace("_", "-")


def gettext(text: str) -> str:
    """`text` in the language spoken."""
    return _catalogue(spoken()).gettext(text)


def ngettext(one: str, many: str, number: int) -> str:
    """`one` or `many`, as the language spoken counts."""
    return _catalogue(spoken()).ngettext(one, many, number)


_ = gettext


def N_(text: str) -> str:  # noqa: N802
    """Marks a text that is translated elsewhere."""
    return text


def NN_(one: str, many: str) -> tuple[str, str]:  # noqa: N802
    """Marks what `ngettext` is given elsewhere."""
    return one, many


class Words(Mapping[_K, str]):
    """Texts marked by `N_`, each translated when it is read."""

    def __init__(self, texts: Mapping[_K, str]) -> None:
        self._texts = dict(texts)

    def __getitem__(self, key: _K) -> str:
        text = self._texts[key]
        return gettext(text) if text else text

    def __iter__(self) -> Iterator[_K]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def phrases() -> Iterator[tuple[str, str]]:
    """The texts of results that the language spoken has a translation of, and that."""
    for one in _read(spoken()):
        if one.context == RESULT and one.string and not one.fuzzy:
            yield str(one.id), str(one.string)


@cache
def letters_of(language: str) -> frozenset[str]:
    """The letters of all words of `language`; none of English, which every font has."""
    return frozenset("".join("".join(one.string or "") for one in _read(language) if one.id))


@cache
def _catalogue(language: str) -> NullTranslations:
    """The words of `language`.

    Raises:
        FileNotFoundError: there is no catalogue of it.
    """
    if language == ENGLISH:
        return NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = io.BytesIO()
    write_mo(compiled, _read(language))
    compiled.seek(0)
    return GNUTranslations(compiled)


@cache
def _read(language: str) -> Catalog:
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import read_po

    if language == ENGLISH:
        return Catalog()
    with _file(language).open("rb") as source:
        return read_po(source, domain=_DOMAIN)


def _folder() -> Traversable:
    return files("auditor_report_templates").joinpath("locale")


def _file(language: str) -> Traversable:
    return _folder().joinpath(language, "LC_MESSAGES", f"{_DOMAIN}.po")
