"""Other people's HTML, reduced to what cannot harm the page around it."""

from __future__ import annotations

import base64
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree

#: Elements that only structure text, and may hold what they hold.
_ELEMENTS = frozenset(
    (
        *("p", "div", "span", "blockquote", "pre", "h4", "h5", "h6", "figure", "figcaption"),
        *("ul", "ol", "li", "dl", "dt", "dd"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td"),
        *("strong", "em", "b", "i", "code", "sub", "sup", "small"),
    )
)
_VOID = frozenset(("br", "hr"))
#: Elements whose contents are no text for readers.
_SILENT = frozenset(("script", "style", "template", "iframe", "object", "svg", "math", "head"))
_SPANS = frozenset(("colspan", "rowspan"))
_PICTURES = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "gif", "svg+xml"))
#: Deeper than this nobody reads, and what sets the type could run out of stack.
_DEPTH = 40
#: Wider or longer than this nobody reads, and what sets the type could run out of memory: columns
#: that a cell spans, elements, letters, and shapes of a picture once all its uses are drawn.
_SPAN, _MOST_ELEMENTS, _MOST_LETTERS, _MOST_SHAPES = 100, 20_000, 500_000, 20_000
_SVG = "data:image/svg+xml;base64,"


class _Cleaner(HTMLParser):
    """Writes what is allowed, and closes what was left open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.written: list[str] = []
        #: What was made smaller or left out, in words.
        self.bounded: dict[str, None] = {}
        self._open: list[str] = []
        self._silent: list[str] = []
        self._elements = self._letters = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element that is allowed, with the few attributes that are."""
        if tag in _SILENT:
            self._silent.append(tag)
        if self._silent:
            return
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            self.bounded[f"all after the first {_MOST_ELEMENTS:,} elements"] = None
            return
        if tag in _VOID:
            self.written.append(f"<{tag}>")
        elif tag == "img":
            self._picture(dict(attrs))
        elif tag in _ELEMENTS and len(self._open) < _DEPTH:
            kept = "".join(self._attribute(name, value or "") for name, value in attrs)
            self.written.append(f"<{tag}{kept}>")
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close an element that is open, with all that was opened inside it."""
        if self._silent:
            if tag == self._silent[-1]:
                self._silent.pop()
        elif tag in self._open:
            while self._close() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Keep text as text."""
        if self._silent:
            return
        room = _MOST_LETTERS - self._letters
        self._letters += len(data)
        if len(data) > room:
            self.bounded[f"all after the first {_MOST_LETTERS:,} letters"] = None
        self.written.append(escape(data[: max(0, room)], quote=False))

    def _attribute(self, name: str, value: str) -> str:
        if name == "scope":
            return f' scope="{escape(value)}"'
        if name not in _SPANS or not (value.isascii() and value.isdecimal()):
            return ""
        wanted = int(value[:12])
        if wanted > _SPAN:
            self.bounded[f"cells that span more than {_SPAN} columns or rows"] = None
        return f' {name}="{min(wanted, _SPAN)}"'

    def finish(self) -> str:
        """What was written, everything closed."""
        self.close()
        while self._open:
            self._close()
        return "".join(self.written)

    def _close(self) -> str:
        tag = self._open.pop()
        self.written.append(f"</{tag}>")
        return tag

    def _picture(self, attributes: dict[str, str | None]) -> None:
        source = attributes.get("src") or ""
        if source.startswith(_SVG) and not _is_small(source.removeprefix(_SVG)):
            self.bounded["pictures that repeat themselves without end, or are no SVG"] = None
        elif source.startswith(_PICTURES):
            alt = escape(attributes.get("alt") or "")
            self.written.append(f'<img src="{escape(source)}" alt="{alt}">')


def _is_small(encoded: str) -> bool:
    """Whether an SVG is one, without entities, and small once every `use` in it is drawn."""
    try:
        text = base64.b64decode(encoded, validate=True)
        if b"<!ENTITY" in text:
            return False
        root = ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError):
        return False
    named = {element.get("id"): element for element in root.iter()}
    drawn = 0
    waiting = [(root, 0)]
    while waiting:
        element, depth = waiting.pop()
        drawn += 1
        if drawn > _MOST_SHAPES or depth > 10 * _DEPTH:
            return False
        waiting += [(child, depth + 1) for child in element]
        if element.tag.rpartition("}")[2] == "use":
            links = (value for key, value in element.items() if key.rpartition("}")[2] == "href")
            targets = (named.get(link.removeprefix("#")) for link in links)
            waiting += [(target, depth + 1) for target in targets if target is not None]
    return True


def cleaned(html: str) -> tuple[str, tuple[str, ...]]:
    """`html` without scripts, styles, links and whatever else is more than text and pictures.

    Every element is closed, so that it can be put into a page. With it what had to be made smaller
    or left out for its size, in words.
    """
    cleaner = _Cleaner()
    cleaner.feed(html)
    return cleaner.finish(), tuple(cleaner.bounded)


def safe(html: str) -> str:
    """The first of what `cleaned` returns."""
    return cleaned(html)[0]
