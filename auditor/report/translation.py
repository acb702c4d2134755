"""The texts of a result in the language of the report.

audit.json is English. Its sentences were made from patterns with figures filled in ("{count} of
{total} images withstood"), and a catalogue has a translation of each pattern, in the context
"result". So a text is taken apart again: into patterns that follow one another, with what stands in
their places, which is taken apart in turn. Of all ways to do so the one counts that leaves the
fewest letters over. Words that are left over stay English, and are told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from string import Formatter
from typing import Any, NamedTuple, TypeVar, cast

from auditor.language import N_, gettext, phrases, spoken
from auditor.report.wording import gap
from auditor.results import (
    AttackResult,
    AttemptSummary,
    AuditResult,
    CheckResult,
    DataRecord,
    Finding,
    GalleryItem,
    GateResult,
    Masking,
    Measurement,
    PlantedControl,
    StageSummary,
)

_T = TypeVar("_T")

#: Where a pattern may end whose last place is open.
_END = re.compile(r"(?=[.,;:)] |[.,;:)]*$| \()")
#: A word of a language: no code, path or number, and no name with capitals inside it.
_WORD = re.compile(r"[A-Za-z]?[a-z]+(?:['’-][a-z]+)*")
#: Code in quotation marks or with brackets, else what stands between spaces.
_TOKEN = re.compile(
    r"\d[\d,.]*\d|`[^`]*`|\"[^\"]*\"|[^\s(),;]*\w\(\S*?\)|[^\s(),;]+?(?=[.:]*(?:[\s(),;]|$))|."
)
#: What is one word or name, whatever stands in it; nothing begins or ends within.
_NAME = re.compile(r"\w+(?:[-./:]\w+)*")
_SEPARATORS = (N_(", "), N_("; "), N_(": "), N_(" ("), N_(")"), N_(" and "))
#: A pattern with fewer letters says too little to stand around more than figures and names.
_TELLING = 8
#: So many words that stand together and have no translation are told; fewer may be a name.
_SENTENCE = 3
#: Places that hold code or names, whatever words these have.
_VERBATIM = frozenset(("culprit", "narrow", "where", "site_where", "symptom_culprit"))
#: Between letters that are written without spaces, and between these and others.
_TOO_WIDE = re.compile(
    "(?<=[\u3000-\u303f\uff00-\uffef]) |(?<=[\u3040-\u9fff]) (?=[\u3000-\u9fff])"
)
_TOO_NARROW = re.compile(
    "(?<=[\u3040-\u9fff])(?=[A-Za-z0-9`<>ε])|(?<=[A-Za-z0-9`%)])(?=[\u3040-\u9fff])"
)
#: Longer texts are other people's.
_LONGEST = 4_000


class Said(NamedTuple):
    """A text, or a part of one, in the language of the report."""

    text: str
    #: What has no translation.
    missing: tuple[str, ...] = ()
    #: Letters that were translated less those of words that were not.
    score: float = 0.0


def said(text: str) -> Said:
    """`text`, which stands in a result, in the language spoken."""
    return _said(text, spoken())


@lru_cache(maxsize=4096)
def _said(text: str, language: str) -> Said:
    if not re.search(r"[a-z]{2}", text):
        return Said(text)
    if (known := _exactly(text, language)) != text:
        return Said(known, (), len(text))
    if len(text) > _LONGEST:
        return Said(text, (text,))
    return _taken_apart(text, language)


def _exactly(text: str, language: str) -> str:
    """A text that is in the catalogue as it stands."""
    return _whole(language).get(text) or gettext(text)


@dataclass(frozen=True)
class _Phrase:
    """A pattern and its translation."""

    pattern: re.Pattern[str]
    translation: str
    #: What stands between its places, and how many letters that has.
    chunks: tuple[str, ...]
    letters: int
    #: Places in which code stands.
    verbatim: frozenset[str]
    open_start: bool
    open_end: bool

    @classmethod
    def of(cls, text: str, translation: str) -> _Phrase:
        parts = [(literal, name) for literal, name, _, _ in Formatter().parse(text)]
        chunks = tuple(literal for literal, _ in parts if literal)
        letters = sum(map(str.isalpha, "".join(chunks)))
        pattern, named = "" if parts[0][0] else r"(?![\s.,;:)])", set[str]()
        for literal, name in parts:
            what = ".+?" if letters >= _TELLING or name in _VERBATIM else r"\S+?"
            if named and not literal:  # it may be missing, and does not begin within a word
                what = r"(?:[\s,;:.(].*?)?"
            pattern += re.escape(literal)
            if name is not None:
                pattern += f"(?P={name})" if name in named else f"(?P<{name}>{what})"
                named.add(name)
        if pattern.endswith(r"\ "):  # what follows begins with that space
            pattern = pattern.removesuffix(r"\ ") + r"(?=\s)"
        first = pattern[0]
        if first.islower():  # a remark may have become a sentence
            pattern = f"[{first}{first.upper()}]{pattern[1:]}"
        return cls(
            re.compile(pattern, re.DOTALL),
            translation,
            chunks,
            letters,
            frozenset(name for literal, name in parts if name and _is_code(literal, name)),
            open_start=not parts[0][0],
            open_end=parts[-1][1] is not None,
        )

    def may_be_in(self, text: str) -> bool:
        place = 0
        for chunk in self.chunks:
            place = text.find(chunk[1:], place)
            if place < 0:
                return False
        return True

    def matches(self, text: str, start: int) -> Iterator[re.Match[str]]:
        """The ways to find it at `start`."""
        if not self.open_end and (found := self.pattern.match(text, start)):
            yield found
        ends = _END.finditer(text, start) if self.open_end else ()
        for end in (len(text), *reversed([end.start() for end in ends])):
            if found := self.pattern.fullmatch(text, start, end):
                yield found


def _is_code(before: str, name: str) -> bool:
    """Whether code or a name stands in a place, whatever words that has."""
    return name in _VERBATIM or before.endswith(('"', "`", " = "))


@lru_cache(maxsize=8)
def _whole(language: str) -> dict[str, str]:
    """Every pattern of a language; a full stop is no part of one."""
    made = {}
    for text, translation in phrases():
        stop = text.endswith(".") and not text.endswith("..")
        ended = translation.removesuffix(gettext(".")) if stop else translation
        made[text.removesuffix("." if stop else "")] = ended.rstrip()
    return made


@lru_cache(maxsize=8)
def _known(language: str) -> tuple[_Phrase, ...]:
    return tuple(_Phrase.of(*one) for one in _whole(language).items())


class _Piece(NamedTuple):
    """The best reading of a text from one place on: this piece, then what follows it."""

    score: float
    text: str
    end: int
    #: Words without a translation in it.
    missing: tuple[str, ...] = ()
    #: Whether it is such a word itself, or a translation.
    word: bool = False
    made: bool = False


def _taken_apart(text: str, language: str) -> Said:
    candidates = [one for one in _known(language) if one.may_be_in(text)]
    inside = {at for word in _NAME.finditer(text) for at in range(word.start() + 1, word.end())}
    best: dict[int, _Piece] = {}
    for start in range(len(text) - 1, -1, -1):
        if start not in inside:
            ways = [
                one._replace(score=one.score + (best[one.end].score if one.end in best else 0.0))
                for one in (*_pieces(text, start, candidates), _kept(text, start, inside))
                if one.end not in inside
            ]
            best[start] = max(ways, key=lambda one: one.score)
    return _joined(text, best)


def _pieces(text: str, start: int, candidates: list[_Phrase]) -> Iterator[_Piece]:
    """What may stand at `start`: a pattern, or a separator."""
    for phrase in candidates:
        for found in phrase.matches(text, start):
            yield _filled(phrase, found)
    for one in _SEPARATORS:
        if text.startswith(one, start):
            yield _Piece(0.0, gettext(one), start + len(one))
    if text[start] == "." and text[start + 1 : start + 2] in ("", " "):
        space = gap() if text[start + 1 :] else ""
        yield _Piece(0.0, gettext(".") + space, min(start + 2, len(text)))


def _spaced(text: str) -> str:
    """`text` with its spaces as its letters are written."""
    return _TOO_NARROW.sub(" ", _TOO_WIDE.sub("", text))


def _kept(text: str, start: int, inside: set[int]) -> _Piece:
    """A word, or whatever stands at `start`, as it is."""
    found = _TOKEN.match(text, start)
    assert found is not None
    end = next(place for place in range(found.end(), len(text) + 1) if place not in inside)
    word = bool(_WORD.fullmatch(text, start, end))
    return _Piece(-float(word * (end - start)), text[start:end], end, word=word)


def _filled(phrase: _Phrase, found: re.Match[str]) -> _Piece:
    """A pattern with what stands in its places."""
    values = found.groupdict()
    places = {
        name: Said(_exactly(text, spoken())) if name in phrase.verbatim else said(text)
        for name, text in values.items()
    }
    # Of two readings with as many letters the likelier one counts: with fewer and longer patterns,
    # none of which goes beyond its sentence, and with the words that come first around the others.
    doubt = 0.5 + sum((". " in text) + 0.1 * text.endswith(".") for text in values.values())
    doubt += 0.5 * (phrase.open_start and found[0][:1].isalpha()) - 0.001 * len(found[0])
    return _Piece(
        phrase.letters - doubt + sum(one.score for one in places.values()),
        _spaced(phrase.translation.format(**{name: one.text for name, one in places.items()})),
        found.end(),
        tuple(text for one in places.values() for text in one.missing),
        made=True,
    )


def _joined(text: str, best: dict[int, _Piece]) -> Said:
    """The best reading of the whole text, and its words that stand together untranslated.

    Where nothing is translated its punctuation is not either.
    """
    pieces, place = [], 0
    while place < len(text):
        pieces.append(best[place])
        place = best[place].end
    missing = [words for piece in pieces for words in piece.missing]
    run: list[str] = []
    for piece in (*pieces, _Piece(0.0, ".", len(text))):
        if piece.word or (run and piece.text.isspace()):
            run.append(piece.text)
        else:
            if sum(map(str.isalpha, (word[0] for word in run))) >= _SENTENCE:
                missing.append("".join(run).strip())
            run = []
    if any(piece.made for piece in pieces):
        text = _spaced("".join(piece.text for piece in pieces))
    return Said(text, tuple(missing), pieces[0].score)


#: The fields that hold such texts.
_TEXTS: dict[type, tuple[str, ...]] = {
    AuditResult: ("reasons", "not_tested"),
    GateResult: ("limit", "value", "reason"),
    AttackResult: ("reason", "surrogate", "objective", "rejected"),
    StageSummary: ("name", "surrogate", "objective"),
    Masking: ("summary", "reasons", "next_steps", "lacking"),
    PlantedControl: ("sentence",),
    CheckResult: ("sentence",),
    AttemptSummary: ("name", "surrogate"),
    Measurement: ("name", "method"),
    Finding: ("title", "summary", "evidence", "remedy"),
    GalleryItem: ("attack",),
    DataRecord: ("notes",),
}


def translated(result: AuditResult) -> tuple[AuditResult, tuple[str, ...]]:
    """`result` with its texts in the language spoken, and what of them has no translation."""
    missing: dict[str, None] = {}

    def words(text: str) -> str:
        found = said(text)
        missing.update(dict.fromkeys(found.missing))
        return found.text

    return _each(result, words), tuple(missing)


def _each(value: _T, words: Callable[[str], str], *, text: bool = False) -> _T:
    """A part of a result, with every text of `_TEXTS` in it; `text`: whether it is one itself."""
    made: Any = value
    if isinstance(value, str):
        made = words(value) if text else value
    elif isinstance(value, tuple):
        made = tuple(_each(one, words, text=text) for one in value)
    elif isinstance(value, dict) and text:
        made = {words(key): one for key, one in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        texts = _TEXTS.get(type(value), ())
        parts = {n: _each(part, words, text=n in texts) for n, part in vars(value).items()}
        made = replace(value, **parts)
    return cast(_T, made)
