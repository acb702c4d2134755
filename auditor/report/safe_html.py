"""Other people's HTML, reduced to what cannot harm the page around it."""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser

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
_ATTRIBUTES = frozenset(("colspan", "rowspan", "scope"))
_PICTURES = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "gif", "svg+xml"))
#: Deeper than this nobody reads, and what sets the type could run out of stack.
_DEPTH = 40


class _Cleaner(HTMLParser):
    """Writes what is allowed, and closes what was left open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.written: list[str] = []
        self._open: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element that is allowed, with the few attributes that are."""
        if tag in _SILENT:
            self._silent.append(tag)
        if self._silent:
            return
        if tag in _VOID:
            self.written.append(f"<{tag}>")
        elif tag == "img":
            self._picture(dict(attrs))
        elif tag in _ELEMENTS and len(self._open) < _DEPTH:
            kept = (f' {name}="{escape(value or "")}"' for name, value in attrs
                    if name in _ATTRIBUTES)  # fmt: skip
            self.written.append(f"<{tag}{''.join(kept)}>")
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
        if not self._silent:
            self.written.append(escape(data, quote=False))

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
        if source.startswith(_PICTURES):
            alt = escape(attributes.get("alt") or "")
            self.written.append(f'<img src="{escape(source)}" alt="{alt}">')


def safe(html: str) -> str:
    """`html` without scripts, styles, links and whatever else is more than text and pictures.

    Every element is closed, so that it can be put into a page.
    """
    cleaner = _Cleaner()
    cleaner.feed(html)
    return cleaner.finish()
