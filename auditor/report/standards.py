"""What an audit supports of standards and guides, and which attacks are what in their taxonomies.

Everything is drawn from the result: a document's point has what this report shows for it, or why it
shows nothing. No entry says that anything complies with anything: that is for others to judge.

Sources: Regulation (EU) 2024/1689; ISO/IEC TR 24029-1:2021, its classes of methods; NIST AI 100-1
(AI RMF 1.0), table 3; NIST AI 100-2 E2025, section 2.2; MITRE ATLAS 5.6.0; OWASP AI Testing Guide
v1, AITG-MOD; OWASP AI Exchange, 2.1. Their clauses are named, not quoted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from auditor.language import _, ngettext
from auditor.report.wording import (
    clauses,
    day,
    listed,
    moment,
    plural,
    prose,
    sentence,
    threat_text,
)
from auditor.results import AttackResult, AuditResult, CheckResult, ModelResult

#: A key of `wording.SUPPORT`.
State = Literal["supports", "partly", "tested", "open", "other"]

#: Checks that attack in these ways.
_BY_QUERIES, _BY_TRANSFER, _PLANTED = "black-box-gap", "transfer-gap", "planted-mask"


@dataclass(frozen=True)
class Technique:
    """One way to attack, as the taxonomies name it."""

    name: str
    #: Identifier and name in MITRE ATLAS, and the class in NIST AI 100-2.
    atlas: str
    nist: str
    state: State
    #: The attacks of this audit that are of this kind, or why there is none.
    attacks: str


@dataclass(frozen=True)
class Point:
    """One point of a document, and what this report shows for it."""

    name: str
    subject: str
    state: State
    shown: str


@dataclass(frozen=True)
class Document:
    """A standard or guide, with the points that an audit of this kind speaks of."""

    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Standards:
    """The whole appendix."""

    techniques: tuple[Technique, ...]
    documents: tuple[Document, ...]


def reviewer(text: str) -> tuple[str, str]:
    """Name and role of who signs, as the configuration writes them: "name, role"."""
    name, _comma, role = text.partition(",")
    return name.strip(), role.strip()


def standards(result: AuditResult) -> Standards:
    """The appendix on `result`."""
    facts = _Facts(result)
    return Standards(
        tuple(_techniques(facts)),
        tuple(
            Document(title, tuple(points(facts)))
            for title, points in (
                (_("EU AI Act, Regulation (EU) 2024/1689"), _ai_act),
                (_("ISO/IEC TR 24029-1:2021, robustness of neural networks"), _iso_24029),
                (_("NIST AI Risk Management Framework 1.0, MEASURE"), _nist_rmf),
                (_("OWASP AI Testing Guide, version 1"), _owasp_guide),
                (_("OWASP AI Exchange, 2.1 Evasion"), _owasp_exchange),
            )
        ),
    )


class _Facts:
    """What the entries are drawn from."""

    def __init__(self, result: AuditResult) -> None:
        self.result = result

    @property
    def models(self) -> Sequence[ModelResult]:
        return self.result.models

    @cached_property
    def done(self) -> list[AttackResult]:
        """The attacks that ran, of all models and threats."""
        found = (a for model in self.models for threat in model.threats for a in threat.attacks)
        return [attack for attack in found if attack.status == "done"]

    @cached_property
    def white(self) -> list[str]:
        """Those that follow gradients."""
        return _labels(a.label for a in self.done if a.needs == "gradient" or a.backwards)

    @cached_property
    def black(self) -> list[str]:
        """Those that ask for answers alone, as a whole, in a stage or from a check."""
        return _labels(
            [
                *(a.label for a in self.done if a.needs != "gradient" and not a.backwards),
                *(
                    _("{attack} ({notes})").format(attack=a.label, notes=stage.name)
                    for a in self.done
                    for stage in a.stages
                    if a.backwards and not stage.backwards
                ),
                *self.by_check(_BY_QUERIES),
            ]
        )

    @cached_property
    def transfer(self) -> list[str]:
        """Those that carry over what was found on another model."""
        return self.by_check(_BY_TRANSFER)

    def by_check(self, name: str) -> list[str]:
        """A check's label, where it attacked any model."""
        return _labels(c.label for c in self.checks(name) if c.attempts)

    def checks(self, name: str) -> Iterator[CheckResult]:
        """A check, on each model that had it."""
        return (check for model in self.models for check in model.checks if check.name == name)

    def why_not(self, name: str) -> str:
        """Why no attack was made by a check."""
        said = _labels(check.sentence for check in self.checks(name) if check.sentence)
        return prose(map(sentence, said)) or _("No attack and no check of this kind was asked for.")

    @cached_property
    def threats(self) -> list[str]:
        """The threats that were judged."""
        return _labels(threat_text(t) for m in self.models for t in m.threats if t.robust)

    @cached_property
    def certified(self) -> list[str]:
        """The threats with a proof."""
        return _labels(threat_text(t) for m in self.models for t in m.threats if t.certified)


def _labels(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


# --- Kinds of attacks


def _techniques(facts: _Facts) -> Iterator[Technique]:
    evasion = facts.white + facts.black + facts.transfer
    yield _technique(
        _("Evasion, as a whole"), "AML.T0015 Evade AI Model", _("evasion"), evasion,
        _("No attack ran."),
    )  # fmt: skip
    yield _technique(
        _("White box"), "AML.T0043.000 White-Box Optimization", _("white-box evasion"),
        facts.white, _("No attack followed a gradient."),
    )  # fmt: skip
    yield _technique(
        _("Black box"), "AML.T0043.001 Black-Box Optimization", _("black-box evasion"),
        facts.black, facts.why_not(_BY_QUERIES),
    )  # fmt: skip
    yield _technique(
        _("Transfer"), "AML.T0043.002 Black-Box Transfer", _("transferability of attacks"),
        facts.transfer, facts.why_not(_BY_TRANSFER),
    )  # fmt: skip
    yield _technique(
        _("In the physical world"), "AML.T0041 Physical Environment Access",
        _("evasion in the real world"), [],
        _("Images were changed as files; nothing was held before a camera."),
    )  # fmt: skip


def _technique(name: str, atlas: str, nist: str, attacks: list[str], otherwise: str) -> Technique:
    state: State = "tested" if attacks else "open"
    return Technique(name, atlas, nist, state, listed(attacks) if attacks else otherwise)


def _asked(name: str, subject: str, attacks: list[str], otherwise: str) -> Point:
    """A kind of attack that a guide asks for."""
    if not attacks:
        return Point(name, subject, "open", otherwise)
    return Point(name, subject, "tested", listed(attacks))


# --- Documents


def _ai_act(facts: _Facts) -> Iterator[Point]:
    yield Point(
        _("Article 15(1) and (3)"), _("accuracy and its metrics"), "supports",
        _("Clean accuracy of every model, as a count of images with its 95 % interval."),
    )  # fmt: skip
    yield Point(
        _("Article 15(4)"), _("errors, faults and inconsistencies"), "partly",
        _("Pre-flight of the model: ranges, types, batches, answers that vary. Natural "
          "disturbances and feedback loops were not tested."),
    )  # fmt: skip
    if facts.threats:
        shown = _(
            "Robust accuracy under {threats}. Every success was verified on the model as deployed, "
            "and the masking verdict says how far the number can be believed."
        ).format(threats=clauses(facts.threats))
        yield Point(_("Article 15(5)"), _("adversarial examples, model evasion"), "supports", shown)
    else:
        yield Point(
            _("Article 15(5)"), _("adversarial examples, model evasion"), "open",
            _("No threat was judged."),
        )  # fmt: skip
    yield Point(
        _("Article 15(5)"), _("poisoned data and models, confidentiality attacks"), "open",
        _("An audit of this kind sees neither training data nor what a model gives away."),
    )  # fmt: skip
    yield _dated_and_signed(facts)


def _dated_and_signed(facts: _Facts) -> Point:
    """Annex IV asks for test reports, dated and signed by those responsible."""
    name, subject = _("Annex IV, 2(g)"), _("test reports, dated and signed")
    dated = _(
        "Procedures, data, metrics and logs are named with their hashes; the audit is of {day}."
    ).format(day=day(moment(facts.result.provenance.started)))
    people = [reviewer(text) for text in facts.result.reviewers]
    if not people:
        missing = _("Nobody is named who signs: [report] reviewers takes a name and a role.")
        return Point(name, subject, "partly", prose((dated, missing)))
    roles = sum(bool(role) for _name, role in people)
    signed = ngettext(
        "One person is named for a signature, {roles} with a role; it counts once they have "
        "signed.",
        "{count} people are named for a signature, {roles} with a role; it counts once they have "
        "signed.",
        len(people),
    ).format(count=len(people), roles=roles)
    state: State = "supports" if roles == len(people) else "partly"
    return Point(name, subject, state, prose((dated, signed)))


def _iso_24029(facts: _Facts) -> Iterator[Point]:
    statistical, empirical = _("statistical method"), _("empirical method")
    yield Point(
        _("Clean accuracy, and every interval"), statistical, "supports",
        _("Counts of images with exact intervals of a binomial proportion."),
    )  # fmt: skip
    yield Point(
        _("Robust accuracy"), empirical, "supports" if facts.done else "open",
        _("A search by attacks: an upper bound, with a statistical interval for the images alone.")
        if facts.done
        else _("No attack ran."),
    )  # fmt: skip
    if any(attack.evidence for attack in facts.done):
        yield Point(
            _("What a sample of the survivors says"), statistical, "supports",
            _("A bound on what the full battery would still break, with its confidence."),
        )  # fmt: skip
    judged = all(model.masking.verdict != "inconclusive" for model in facts.models)
    yield Point(
        _("Masking verdict"), empirical, "supports" if judged else "partly",
        _("Experiments on the model and on a mask that was planted; its lower bound on hidden "
          "examples is statistical."),
    )  # fmt: skip
    yield Point(
        _("Certified accuracy"), _("formal method"), "supports" if facts.certified else "open",
        _("A proof for each image counted, under {threats}.").format(
            threats=clauses(facts.certified)
        )
        if facts.certified
        else _("No certificate was asked for: nothing in this report is proved."),
    )  # fmt: skip


def _nist_rmf(facts: _Facts) -> Iterator[Point]:
    data = facts.result.provenance.data
    yield Point(
        "MEASURE 2.5", _("valid and reliable, limits of generalising"), "supports",
        _("Clean accuracy on {images} of {available}; what was not tested is listed, and whether "
          "answers vary was measured.").format(
            images=plural(data.audited, "image"), available=f"{data.available:,}"
        ),
    )  # fmt: skip
    yield Point(
        "MEASURE 2.6", _("safety"), "partly",
        _("How small a change makes the model fail. What a failure does in the system around it "
          "was not assessed."),
    )  # fmt: skip
    yield Point(
        "MEASURE 2.7", _("security and resilience"), "supports" if facts.threats else "open",
        _("Robust accuracy under the threats of the configuration, with its gates.")
        if facts.threats
        else _("No threat was judged."),
    )  # fmt: skip
    yield _effectiveness(facts)


def _effectiveness(facts: _Facts) -> Point:
    """Whether the test is any good: masks planted, the self-test, runs that were made twice."""
    shown = []
    controls = [model.masking.control for model in facts.models if model.masking.control]
    if controls:
        found = sum(control.detected for control in controls)
        shown.append(
            _("A mask was planted on {models}; the same checks found it on {found}.").format(
                models=plural(len(controls), "model"), found=found
            )
        )
    if test := facts.result.selftest:
        shown.append(
            _("The self-test found {hits} of {masked} and raised {alarms}.").format(
                hits=test.hits,
                masked=plural(test.hits + test.misses, "masked reference model"),
                alarms=plural(test.false_alarms, "false alarm"),
            )
        )
    if any(attack.agreement for attack in facts.done):
        shown.append(_("Attacks were run twice, and how far the runs agree is told."))
    return Point(
        "MEASURE 2.13", _("whether the tests themselves are effective"),
        "supports" if shown else "open",
        prose(shown) or _("No mask was planted, and no self-test was recorded."),
    )  # fmt: skip


def _owasp_guide(facts: _Facts) -> Iterator[Point]:
    yield _asked(
        "AITG-MOD-01", _("perturbed images"), facts.white + facts.black, _("No attack ran.")
    )
    yield _asked("AITG-MOD-01", _("transfer attacks"), facts.transfer, facts.why_not(_BY_TRANSFER))
    yield Point(
        "AITG-MOD-01", _("perturbed text and sound"), "other", _("The models classify images.")
    )
    yield Point(
        "AITG-MOD-01", _("detection of adversarial inputs"), "open",
        _("Models were audited without a rule that refuses inputs."),
    )  # fmt: skip
    yield Point(
        "AITG-MOD-02, 03", _("poisoning, at run time and in training"), "open",
        _("Training and updates were not looked at."),
    )  # fmt: skip
    yield Point(
        "AITG-MOD-04, 05", _("membership inference, inversion"), "open",
        _("What a model gives away of its training data is another kind of test."),
    )  # fmt: skip
    yield Point(
        "AITG-MOD-06", _("new and shifted data"), "open",
        _("No natural disturbance and no other distribution was tested."),
    )  # fmt: skip
    yield Point(
        "AITG-MOD-07", _("goal alignment"), "other", _("A classifier pursues no goals of its own.")
    )


def _owasp_exchange(facts: _Facts) -> Iterator[Point]:
    yield _asked("2.1.1", _("evasion with zero knowledge"), facts.black, facts.why_not(_BY_QUERIES))
    yield _asked(
        "2.1.2", _("evasion with perfect knowledge"), facts.white,
        _("No attack followed a gradient."),
    )  # fmt: skip
    yield _asked("2.1.3", _("evasion by transfer"), facts.transfer, facts.why_not(_BY_TRANSFER))
    if facts.white:
        yield Point(
            "2.1.4", _("evasion with partial knowledge"), "partly",
            _("Not run on its own: attacks with full knowledge stand for it."),
        )  # fmt: skip
    else:
        yield Point(
            "2.1.4", _("evasion with partial knowledge"), "open", _("No attack of this kind ran.")
        )
    yield Point(
        "2.1.5", _("evasion after data poisoning"), "open",
        _("Training data were not looked at."),
    )  # fmt: skip
