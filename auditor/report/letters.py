"""Letters that no installed font has: what to install for them, and how they are written out."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable

from auditor.language import _, ngettext
from auditor.printable import printable

#: The last of the letters that every font of the reports has: Latin, Greek, Cyrillic.
_COMMON = 0x052F
_SHOWN = 12
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")
_INSTALL = {
    "east-asian": "on Debian or Ubuntu `apt install fonts-noto-cjk`, on Fedora `dnf install "
    "google-noto-sans-cjk-fonts`, on Alpine `apk add font-noto-cjk`",
    "emoji": "on Debian or Ubuntu `apt install fonts-noto-color-emoji`, on Fedora `dnf install "
    "google-noto-color-emoji-fonts`, on Alpine `apk add font-noto-emoji`",
    "other": "on Debian or Ubuntu `apt install fonts-noto-core`, on Fedora `dnf install "
    "google-noto-sans-fonts`, on Alpine `apk add font-noto-all`",
}


def uncommon(texts: Iterable[str]) -> str:
    """The letters of these texts that a font may lack, each once."""
    return "".join(sorted({one for text in texts for one in printable(text) if ord(one) > _COMMON}))


def named(lacking: Collection[str]) -> str:
    """The letters, for a sentence: the first few, and how many there are."""
    return _first([f"{one} ({_written_out(one)})" for one in sorted(lacking)])


def _first(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    shown = " ".join(texts[:_SHOWN])
    return _("{shown} and {count} more").format(shown=shown, count=more) if more > 0 else shown


def remedy(lacking: Collection[str]) -> str:
    """The fonts to install."""
    kinds = {_kind(one) for one in lacking}
    advice = "; ".join(text for kind, text in _INSTALL.items() if kind in kinds)
    if not advice:
        return _("leave them out: no font is known to have them")
    return _("{advice}; macOS and Windows bring theirs").format(advice=advice)


def note(lacking: Collection[str], *, without: bool = False) -> str:
    """What readers are told.

    Args:
        without: where it is told cannot show the letters themselves.
    """
    which = _first([_written_out(one) for one in sorted(lacking)]) if without else named(lacking)
    return ngettext(
        "No font that is installed here has a letter of this report: {which}. In the PDF they are "
        "written out as \\uXXXX; report.html and audit.json have them. To set them, install a "
        "font: {fonts}; then `auditor report RUN_DIR --format pdf`.",
        "No font that is installed here has {count} letters of this report: {which}. In the PDF "
        "they are written out as \\uXXXX; report.html and audit.json have them. To set them, "
        "install a font: {fonts}; then `auditor report RUN_DIR --format pdf`.",
        len(lacking),
    ).format(count=len(lacking), which=which, fonts=remedy(lacking))


def in_english(language: str, lacking: Collection[str]) -> str:
    """What is told where no font has the letters that the words of a language are written in."""
    return (
        f'No font that is installed here has the letters of the language "{language}", so that the '
        "PDF is in English; report.html is not. To set them, install a font: "
        f"{remedy(lacking)}; then `auditor report RUN_DIR --format pdf`."
    )


def table(lacking: Collection[str]) -> dict[int, str]:
    """For `str.translate`: the letters written out."""
    return {ord(one): _written_out(one) for one in lacking}


def _written_out(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _kind(letter: str) -> str:
    name = unicodedata.name(letter, "")
    if not name:
        return ""
    if name.startswith(_EAST_ASIAN):
        return "east-asian"
    if ord(letter) >= 0x1F000:
        return "emoji"
    return "other"
