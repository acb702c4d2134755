"""What `auditor compare` found, as written to compare.json: plain frozen data.

A is the audit before, B the one after. Changes are B less A; accuracies are fractions of the images
that both audits have, unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from auditor.printable import encodable
from auditor.results import Accuracy, Finding, MaskingVerdict, Verdict

SCHEMA: Literal["auditor.comparison/1"] = "auditor.comparison/1"

#: How a model of A and one of B came to stand beside each other.
Matched = Literal["name", "position", "asked"]
#: What the test says of a change: the adjusted p-value is at most the level, or it is not.
Outcome = Literal["worse", "better", "no difference"]
#: "drop": beyond the limit and beyond chance. "no-limit": none was set. "open": there is none,
#: and something that A measured could not be compared.
Conclusion = Literal["no-drop", "drop", "no-limit", "open"]


@dataclass(frozen=True)
class Side:
    """One of the two audits."""

    #: As it was named on the command line.
    path: str
    title: str
    #: UTC, ISO 8601.
    started: str
    #: sha256 of its audit.json.
    sha256: str
    profile: str
    status: Literal["complete", "incomplete"]
    verdict: Verdict
    images: int
    #: Why its images cannot be told apart; empty where samples.parquet is there.
    without_samples: str = ""


@dataclass(frozen=True)
class Images:
    """How many images the two audits share, by content and label."""

    common: int
    only_a: int
    only_b: int


@dataclass(frozen=True)
class Discordant:
    """An image of which one model is right and the other is not."""

    #: Its place in each data set, as in samples.parquet.
    id_a: int
    id_b: int
    label: int


@dataclass(frozen=True)
class Change:
    """One accuracy of both models, and whether they differ.

    `test` is "mcnemar" where the images were matched, and `a` and `b` are of those in common; it is
    "fisher" where they could not be, `a` and `b` are of all images of each audit, and what is
    counted image by image is null.
    """

    a: Accuracy
    b: Accuracy
    #: (b - a), of `accuracy`.
    change: float
    #: Score interval of the change (Tango).
    ci95: tuple[float, float] | None
    test: Literal["mcnemar", "fisher"]
    #: Exact, two-sided; and adjusted (Holm) for all robust accuracies of this comparison, or all
    #: clean ones.
    p: float
    p_adjusted: float
    outcome: Outcome
    #: Whether the drop is beyond the limit and beyond chance; null where no limit is judged.
    fails: bool | None
    #: Images that A has right and B wrong, the reverse, and those that both have right or wrong.
    lost: tuple[Discordant, ...] | None = None
    won: tuple[Discordant, ...] | None = None
    both_right: int | None = None
    both_wrong: int | None = None


@dataclass(frozen=True)
class Battery:
    """Attacks, or checks, by label: what was done on either side, and with which parameters."""

    shared: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    #: Done on both sides, with other parameters.
    changed: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Whether both sides did the same."""
        return not (self.only_a or self.only_b or self.changed)


@dataclass(frozen=True)
class ThreatChange:
    """What one model and its counterpart withstood under one norm and epsilon."""

    norm: str
    epsilon: float
    epsilon_text: str
    attacks: Battery
    #: The worst case of everything that ran; null where one side has no number.
    robust: Change | None
    #: Under the attacks alone that both sides ran alike; only where the attacks differ.
    shared: Change | None = None


@dataclass(frozen=True)
class MaskingChange:
    """The two masking verdicts."""

    a: MaskingVerdict
    b: MaskingVerdict


@dataclass(frozen=True)
class FindingChanges:
    """Findings by fingerprint, or, of models of different names, by code and title."""

    #: Only B's, only A's, and those of both, as B has them.
    new: tuple[Finding, ...]
    fixed: tuple[Finding, ...]
    unchanged: tuple[Finding, ...]


@dataclass(frozen=True)
class ModelChange:
    """A model of A and its counterpart in B."""

    a: str
    b: str
    matched: Matched
    #: Whether weights and code are the same.
    same: bool
    clean: Change
    threats: tuple[ThreatChange, ...]
    masking: MaskingChange
    #: `only_a` and `only_b` name checks that were done on one side alone.
    checks: Battery
    findings: FindingChanges


@dataclass(frozen=True)
class Difference:
    """Something that the two audits have otherwise; null where one of them lacks it."""

    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True)
class Differences:
    """What is different around the models."""

    #: Of config.lock.toml, key by key; null where one of the two audits lacks that file.
    configuration: tuple[Difference, ...] | None
    data: tuple[Difference, ...]
    versions: tuple[Difference, ...]


@dataclass(frozen=True)
class Unmatched:
    """What one audit has and the other lacks: models by name, threats as "linf 8/255"."""

    models_a: tuple[str, ...] = ()
    models_b: tuple[str, ...] = ()
    threats_a: tuple[str, ...] = ()
    threats_b: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The whole of compare.json."""

    schema: Literal["auditor.comparison/1"]
    conclusion: Conclusion
    exit_status: int
    #: Why the exit status is what it is, one sentence each.
    reasons: tuple[str, ...]
    #: What a reader has to know before any number is believed, one sentence each.
    cautions: tuple[str, ...]
    #: A drop is judged beyond it; null where none was set.
    limit: float | None
    #: A difference is beyond chance where its adjusted p-value is at most this.
    level: float
    a: Side
    b: Side
    #: Null where they could not be matched.
    images: Images | None
    models: tuple[ModelChange, ...]
    unmatched: Unmatched
    differences: Differences


def to_json(comparison: Comparison) -> str:
    """`comparison` as indented JSON text with a final newline."""
    from pydantic import RootModel

    return RootModel[Comparison](encodable(comparison)).model_dump_json(indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema of compare.json."""
    from pydantic import TypeAdapter

    return TypeAdapter(Comparison).json_schema()
