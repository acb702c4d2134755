"""Collects the words of the report and brings every catalogue up to date: `make catalogues`.

What is new in English stands in a catalogue without a translation; what changed a little keeps its
translation, marked `fuzzy`, and counts as missing until a person takes the mark away.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po
from phrases import phrases

from auditor.language import RESULT

ROOT = Path(__file__).parents[1]
LOCALE = ROOT / "report_templates" / "locale"
_KEYWORDS = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2), "NN_": (1, 2)}
_TEMPLATES = {
    "newstyle_gettext": "true",
    "trimmed": "true",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
    "silent": "false",
}


def words() -> Catalog:
    """Every text of the report."""
    catalog = Catalog(charset="utf-8", fuzzy=False)
    for file, method, options in _sources():
        for _, text, comments, context in extract_from_file(
            method, file, keywords=_KEYWORDS, comment_tags=("Translators:",), options=options
        ):
            catalog.add(text, auto_comments=comments, context=context)
    for text in phrases():
        flags = ["python-brace-format"] if "{" in text else []
        catalog.add(text, flags=flags, context=RESULT)
    return catalog


def _sources() -> Iterator[tuple[Path, str, dict[str, str]]]:
    for file in sorted((ROOT / "report_templates").glob("*.j2")):
        yield file, "jinja2", _TEMPLATES
    for file in sorted((ROOT / "auditor" / "report").rglob("*.py")):
        yield file, "python", {}


def catalogues() -> Iterator[tuple[Path, Catalog]]:
    """The catalogue of every language but English."""
    for file in sorted(LOCALE.glob("*/LC_MESSAGES/auditor.po")):
        with file.open("rb") as source:
            yield file, read_po(source, locale=file.parts[-3], domain="auditor")


def text_of(catalog: Catalog) -> bytes:
    """A catalogue as its file, in which nothing changes that is not a word.

    In the order of the alphabet and without places, so that changes of several people do not meet.
    """
    written = io.BytesIO()
    write_po(
        written, catalog, width=100, sort_output=True, no_location=True, ignore_obsolete=True,
        omit_header=True,
    )  # fmt: skip
    head = f'msgid ""\nmsgstr ""\n"Language: {catalog.locale_identifier}\\n"\n'
    head += f'"Plural-Forms: {catalog.plural_forms}\\n"\n'
    head += '"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    return head.encode() + written.getvalue().strip() + b"\n"


def main() -> None:
    """Bring every catalogue up to date."""
    known = words()
    for file, catalog in catalogues():
        catalog.update(known, update_header_comment=False)
        file.write_bytes(text_of(catalog))
        lacking = sum(1 for one in catalog if one.id and (not one.string or one.fuzzy))
        print(f"{file.relative_to(ROOT)}: {len(catalog)} texts, {lacking} to translate")


if __name__ == "__main__":
    main()
