"""The report in another language: every word is marked, and every catalogue fits the code."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from babel.messages.catalog import Catalog
from conftest import AUDITS

from auditor import language
from auditor.report import ReportSource

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import catalogues

#: Around every word of a made-up language.
OPEN, CLOSE = "⟦⟧"
#: What is the same in every language: names, and what programs print.
NAMES = re.compile(
    r"NIST AI 100-2|MITRE ATLAS|MEASURE|AITG-MOD|DDN|DLR|FAB|Square|naive|APGD|"
    r"FGSM|PGD|AutoAttack|Cascade|SHA-256|Python|PyTorch|auditor|BPDA|EOT"
    r"|images? [\d,]+|audit\.json|L[012∞]"
)


class Unmarked(HTMLParser):
    """The words of a page that are in no brackets, and come from no file of the user's."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures: list[str] = []
        self._depth = 0
        self._foreign: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        foreign = ("bdi", "pre", "style", "title", *self._foreign[-1:])
        if tag in foreign or given.get("class") in ("code", "appended"):
            self._foreign.append(tag)
        for name in ("alt", "data-name", "data-kicker"):
            self._text(given.get(name) or "")
        self.pictures.append(given.get("src") or "")

    def handle_endtag(self, tag: str) -> None:
        if self._foreign and tag == self._foreign[-1]:
            self._foreign.pop()

    def handle_data(self, data: str) -> None:
        self._text(data)

    def _text(self, text: str) -> None:
        for part in re.split(f"([{OPEN}{CLOSE}])", text):
            self._depth += (part == OPEN) - (part == CLOSE)
            if not self._depth and not self._foreign:
                self.found += re.findall(r"[^\W\d_]{3,}", NAMES.sub("", part))


def drawn(pictures: list[str]) -> Iterator[str]:
    """The texts of all charts."""
    prefix = "data:image/svg+xml;base64,"
    for one in pictures:
        if one.startswith(prefix):
            root = ElementTree.fromstring(base64.b64decode(one.removeprefix(prefix)))
            yield from ("".join(node.itertext()) for node in root.iter() if "text" in node.tag)


@pytest.fixture
def brackets(made_up: Callable[[Catalog], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A language whose words are the English ones in brackets."""
    monkeypatch.setattr("auditor.report.drawing.label", lambda text, limit=26: text)
    catalog = Catalog(locale="sv")
    for one in catalogues.words():
        if one.id and one.pluralizable:
            catalog.add(one.id, [f"{OPEN}{text}{CLOSE}" for text in one.id])
        elif one.id and one.id != "d MMMM y":
            catalog.add(one.id, f"{OPEN}{one.id}{CLOSE}", context=one.context)
    return made_up(catalog)


@pytest.mark.parametrize("name", AUDITS)
def test_every_word_of_the_report_is_in_the_catalogue(
    name: str, source: Callable[[str], ReportSource], brackets: str
) -> None:
    names = str(source(name).result)
    page = Unmarked(replace(source(name), language=brackets).page)
    assert page.found == []
    assert page._depth == 0
    for text in drawn(page.pictures):
        words = re.findall(r"[^\W\d_]{3,}", text.partition("\xa0\xa0")[0].partition("  ")[0])
        assert OPEN in text or all(one in names for one in words), text


def test_english_is_what_is_written() -> None:
    assert language.languages()[0] == "en"
    with language.speaking("en"):
        assert language.gettext("Glossary") == "Glossary"
        assert language.ngettext("{count} image", "{count} images", 2) == "{count} images"
        assert language.tag() == "en"


PLACES = re.compile(r"%\(\w+\)s|%%|(?<!\{)\{\w+\}(?!\})")


@pytest.mark.parametrize(
    ("name", "catalog"),
    [(file.parts[-3], catalog) for file, catalog in catalogues.catalogues()],
)
def test_a_catalogue_has_every_text_with_its_places(name: str, catalog: Catalog) -> None:
    """After a change of English words: `make catalogues`, then translate what it says."""
    for text in catalogues.words():
        if not text.id:
            continue
        found = catalog.get(text.id, text.context)
        assert found is not None, f"run `make catalogues`: {text.id}"
        assert not found.fuzzy, text.id
        assert found.string, text.id
        patterns = [text.id] if isinstance(text.id, str) else list(text.id)
        made = [found.string] if isinstance(found.string, str) else list(found.string)
        for translation in made:
            assert translation, text.id
            assert set(PLACES.findall(translation)) == set(PLACES.findall(patterns[-1])), text.id
        both = [*patterns, *made]
        assert len({one.count("<") for one in both}) == 1, text.id
