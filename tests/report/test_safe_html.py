"""Other people's HTML in the report: what stays, what goes, and that nothing gets out."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.report.safe_html import cleaned, safe

DOT = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("<p>A <strong>word</strong> &amp; more</p>", "<p>A <strong>word</strong> &amp; more</p>"),
        ("5 < 6 & 7 > 6", "5 &lt; 6 &amp; 7 &gt; 6"),
        ("<p>open<ul><li>one", "<p>open<ul><li>one</li></ul></p>"),
        ("</section></main></body>after", "after"),
        ("a<script>alert('<p>')</script>b<style>*{display:none}</style>c", "abc"),
        ("<svg><p>in it</p></svg>out", "out"),
        ('<p onclick="x()" style="position:fixed" class="bad">x</p>', "<p>x</p>"),
        ('<td colspan="2" rowspan=\'"\'>x', '<td colspan="2">x</td>'),
        ('<td colspan="1000000" scope="a&quot;">x', '<td colspan="100" scope="a&quot;">x</td>'),
        ('<td colspan="-3" rowspan="²">x', "<td>x</td>"),
        ('<a href="http://example.org/">x</a><form><input value="y"></form>', "x"),
        (f'<img src="{DOT}" alt="a &quot;dot&quot;" onerror="x()">',
         f'<img src="{DOT}" alt="a &quot;dot&quot;">'),
        ('<img src="http://example.org/x.png"><img src="file:///etc/passwd"><img>', ""),
        ('<img src="data:text/html;base64,PHA+">', ""),
        ("<!-- no comment --><!DOCTYPE html><?php x ?>kept", "kept"),
        ("<h1>no</h1><h4>yes</h4>", "no<h4>yes</h4>"),
        ("a<br>b<br/>c</br>d<hr>", "a<br>b<br>cd<hr>"),
        ("<script>never closed <p>x", ""),
    ],
)  # fmt: skip
def test_what_is_kept(given: str, kept: str) -> None:
    assert safe(given) == kept


class _Balance(HTMLParser):
    """Follows the open elements, and fails where one is closed that is not the innermost."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "style", "section", "main", "a", "iframe")
        assert {name for name, _ in attrs} <= {"colspan", "rowspan", "scope", "src", "alt"}
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


PIECES = ["<p>", "</p>", "<div>", "</div>", "<table>", "<tr>", "<td ", "colspan=", '"', "'", ">",
          "<", "</", "<script>", "</script>", "<!--", "-->", "<img src=", DOT, "&lt;", "&#60;",
          "</section>", "<b", "/>", "text", "<![CDATA[", "]]>", "<svg>", "</svg>",
          "\x00"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_in_what_goes_out_is_balanced(pieces: list[str]) -> None:
    seen = _Balance()
    seen.feed(safe("".join(pieces)))
    seen.close()
    assert seen.open == []


def test_depth_is_limited() -> None:
    assert safe("<div>" * 10_000).count("<div>") == 40


def svg(inside: str) -> str:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f"{inside}</svg>"
    )
    return f'<img src="data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}">'


#: Twenty groups, each of which uses the one before ten times: 10^20 shapes.
LAUGHS = '<g id="g0"><path d="M0 0"/></g>' + "".join(
    f'<g id="g{i}">' + f'<use xlink:href="#g{i - 1}"/>' * 10 + "</g>" for i in range(1, 21)
)


def test_what_is_too_large_is_made_smaller_and_told() -> None:
    assert cleaned('<td colspan="1000000">x') == (
        '<td colspan="100">x</td>', ("cells that span more than 100 columns or rows",),
    )  # fmt: skip
    text, told = cleaned("<p>a</p>" * 30_000)
    assert text.count("<p>") == 20_000
    assert told == ("all after the first 20,000 elements",)
    text, told = cleaned("n" * 600_000)
    assert (len(text), told) == (500_000, ("all after the first 500,000 letters",))


def test_pictures_that_repeat_themselves_are_left_out() -> None:
    plain = svg('<defs><path id="a" d="M0 0"/></defs>' + '<use xlink:href="#a" x="3"/>' * 500)
    assert "<img" in safe(plain), "as matplotlib writes text"
    for hostile in (
        svg(LAUGHS),
        svg('<g id="a"><use href="#a"/></g>'),
        svg("<g>" * 1000 + "</g>" * 1000),
        '<img src="data:image/svg+xml;base64,PHA+">',
        '<img src="data:image/svg+xml;base64,!!">',
    ):
        text, told = cleaned(hostile)
        assert "<img" not in text
        assert told == ("pictures that repeat themselves without end, or are no SVG",)
