"""What stands on the HTML page, and what must never stand there."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import AUDITS
from synthetic_audits import HOSTILE

from auditor.printable import printable
from auditor.report import ReportSource, html


class Page(HTMLParser):
    """The text, the tags with their attributes, and the nesting faults of a page."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(markup)
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}>, line {self.getpos()[0]}")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self._text.append(data)

    def charts(self) -> Iterator[str]:
        """The source of every SVG image."""
        prefix = "data:image/svg+xml;base64,"
        for tag, attributes in self.tags:
            uri = attributes.get("src") or ""
            if tag == "img" and uri.startswith(prefix):
                yield base64.b64decode(uri.removeprefix(prefix)).decode()


@pytest.fixture
def page(source: Callable[[str], ReportSource]) -> Callable[[str], Page]:
    return lambda name: Page(source(name).page)


def squeezed(text: str) -> str:
    return " ".join(printable(text).split())


@pytest.mark.parametrize("name", AUDITS)
def test_every_attack_and_finding_is_on_the_page(
    name: str, source: Callable[[str], ReportSource], page: Callable[[str], Page]
) -> None:
    text = page(name).text
    for model in source(name).result.models:
        assert squeezed(model.name) in text
        for threat in model.threats:
            for attack in threat.attacks:
                assert squeezed(attack.label) in text
                assert squeezed(attack.reason).casefold() in text.casefold()
        for finding in model.findings:
            assert finding.code in text
            assert squeezed(finding.remedy) in text
        assert squeezed(model.masking.summary) in text


@pytest.mark.parametrize("name", AUDITS)
def test_nothing_is_loaded_and_nothing_runs(name: str, page: Callable[[str], Page]) -> None:
    for tag, attributes in page(name).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")


@pytest.mark.parametrize("name", AUDITS)
def test_the_style_sheet_loads_nothing(name: str, source: Callable[[str], ReportSource]) -> None:
    markup = source(name).page
    assert markup.count("<style>") == markup.count("</style>") == 1
    sheet = markup[markup.index("<style>") : markup.index("</style>")]
    assert "@import" not in sheet
    assert "url(" not in sheet


@pytest.mark.parametrize("name", AUDITS)
def test_the_page_is_well_formed(name: str, page: Callable[[str], Page]) -> None:
    parsed = page(name)
    assert parsed.faults == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for tag, a in parsed.tags if tag == "a"}
    assert targets <= {f"#{identifier}" for identifier in ids}


@pytest.mark.parametrize("name", AUDITS)
def test_every_picture_has_words(name: str, page: Callable[[str], Page]) -> None:
    parsed = page(name)
    assert all(attributes.get("alt") for tag, attributes in parsed.tags if tag == "img")


def test_the_same_audit_gives_the_same_page(source: Callable[[str], ReportSource]) -> None:
    large = source("large")
    assert html.render(large.result, large.raw) == large.page


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_not_obeyed(text: str, page: Callable[[str], Page]) -> None:
    parsed = page("hostile")
    assert squeezed(text) in parsed.text
    assert "{{ 7*7 }}" in parsed.text


def test_no_invisible_character_reaches_the_page(source: Callable[[str], ReportSource]) -> None:
    markup = source("hostile").page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", markup)


@pytest.mark.parametrize("name", AUDITS)
def test_charts_are_sound_svg_that_loads_nothing(name: str, page: Callable[[str], Page]) -> None:
    for svg in page(name).charts():
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert "<script" not in svg
        assert "<image" not in svg
        links = re.findall(r'(?:href|src)="([^"]*)"', svg)
        assert all(link.startswith("#") for link in links)


def test_charts_take_names_literally(page: Callable[[str], Page]) -> None:
    assert any(r"$\frac{x$ {{ 7*7 }}" in svg for svg in page("hostile").charts())


def test_charts_say_how_many_attacks_they_leave_out(page: Callable[[str], Page]) -> None:
    assert "The 12 strongest attacks are drawn; 9 more are in the tables." in page("many").text


def test_page_one_answers(page: Callable[[str], Page]) -> None:
    text = page("large").text
    first = text[: text.index("Contents")]
    for expected in (
        "FAIL", "2 of 4 gates are broken", "92.0 %", "10.4 %", "L∞", "8/255", "confirmed",
        "none found", "half a grey level survives", "Targeted attacks", "First Reviewer",
        "Signature", "Exit status 1", "an upper bound on the true robustness",
    ):  # fmt: skip
        assert expected.replace("\N{NO-BREAK SPACE}", " ") in first.replace("\xa0", " ")


def test_an_empty_rationale_is_a_warning(page: Callable[[str], Page]) -> None:
    assert "No rationale was given" in page("empty").text
    assert "No rationale was given" not in page("large").text


def test_absent_numbers_are_dashes(page: Callable[[str], Page]) -> None:
    text = page("empty").text
    assert "INCONCLUSIVE" in text
    assert "No attack was configured for this threat." in text
    assert "None" not in text


def test_the_templates_call_every_filter_that_is_offered() -> None:
    templates = Path(__file__).parents[2] / "report_templates"
    text = "".join(file.read_text(encoding="utf-8") for file in templates.glob("*.j2"))
    assert set(html.FILTERS) <= set(re.findall(r'\| (?:map\(")?(\w+)', text))


def test_methods_state_every_parameter(page: Callable[[str], Page]) -> None:
    text = page("small").text
    assert 'steps = 100, step_size = not set, restarts = 5, loss = "margin"' in text
    assert text.count("empirical upper bound") == 2
