"""What a comparison is made of: plain frozen data, written as compare.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from auditor.printable import encodable
from auditor.results import Accuracy

SCHEMA: Literal["auditor.comparison/1"] = "auditor.comparison/1"
Outcome = Literal["no drop", "drop", "no limit", "cannot be judged"]


@dataclass(frozen=True)
class Side:
    """One of the two audits."""

    title: str
    #: sha256 of its audit.json.
    sha256: str
    started: str
    verdict: str
    exit_status: int
    #: Whether its images are known one by one.
    samples: bool


@dataclass(frozen=True)
class Paired:
    """The images that both audited: who has how many of them right."""

    images: int
    both: int
    #: Right in A and not in B; their positions in A's data set.
    lost: int
    lost_images: tuple[int, ...]
    #: Right in B and not in A; their positions in B's data set.
    won: int
    won_images: tuple[int, ...]
    neither: int
    #: (lost - won) / images; negative where B is better.
    drop: float
    #: McNemar's exact test, two-sided.
    p_value: float
    #: Of the drop alone, one-sided, and adjusted (Holm) for all robust accuracies compared.
    p_drop: float
    p_drop_adjusted: float


@dataclass(frozen=True)
class Line:
    """Clean accuracy (no norm), or robust accuracy under one threat."""

    norm: str | None
    epsilon: float | None
    epsilon_text: str
    a: Accuracy | None
    b: Accuracy | None
    paired: Paired | None
    #: Why the images cannot be matched; empty where they are.
    unpaired: str = ""
    #: How the attacks differ: what is lost or won then may be the attacks' doing.
    attacks: tuple[str, ...] = ()
    #: Of a robust accuracy: beyond the limit and beyond chance.
    dropped: bool = False


@dataclass(frozen=True)
class Masking:
    """A masking verdict and the numbers before and after it."""

    verdict: str
    kind: str | None
    before: float | None
    corrected: float | None


@dataclass(frozen=True)
class FindingChange:
    """A finding of one audit or of both, told apart by its fingerprint."""

    state: Literal["new", "fixed", "unchanged"]
    code: str
    title: str
    severity: str
    fingerprint: str


@dataclass(frozen=True)
class ModelPair:
    """A model in A and one in B."""

    a: str
    b: str
    same_model: bool
    lines: tuple[Line, ...]
    masking_a: Masking
    masking_b: Masking
    findings: tuple[FindingChange, ...]


@dataclass(frozen=True)
class Difference:
    """A key of the configuration, a fact of the data or a version that is not the same."""

    kind: Literal["configuration", "data", "versions"]
    key: str
    a: str
    b: str


@dataclass(frozen=True)
class Comparison:
    """The whole of compare.json."""

    schema: Literal["auditor.comparison/1"]
    a: Side
    b: Side
    models: tuple[ModelPair, ...]
    differences: tuple[Difference, ...]
    #: What could not be compared, and what a reader has to know, one sentence each.
    notes: tuple[str, ...]
    #: The largest drop that is let pass, if one was given, and the level of the test.
    limit: float | None
    level: float
    outcome: Outcome
    exit_status: int


def to_json(comparison: Comparison) -> str:
    """JSON text of the comparison."""
    return json.dumps(encodable(asdict(comparison)), indent=1, ensure_ascii=False) + "\n"
