"""The result of an audit, as written to audit.json: plain frozen data, no torch.

Every report is a view of an `AuditResult`. Accuracies are fractions of all audited images, seconds
are wall time, epsilons are in pixel space (a pixel lies in [0, 1]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Literal

from auditor.printable import encodable

SCHEMA: Literal["auditor.audit/1"] = "auditor.audit/1"

#: Of the largest integers that are read.
_BITS = 1024

AttackStatus = Literal["done", "skipped", "error"]
#: Checks may also find that there is nothing for them to look at.
CheckStatus = Literal["done", "not applicable", "skipped", "error"]
#: What the attacks trusted that a comparison calls "before".
#: What a masking verdict compares with; "plain": many fixed steps on the cross-entropy, as PGD.
Reference = Literal["plain", "cross-entropy", "gradient"]
#: How what withstood the gradient is challenged: by a search that asks for scores alone, or by an
#: ascent of the model's repaired gradient.
Challenge = Literal["queries", "repaired"]
Level = Literal["info", "low", "medium", "high"]
MaskingVerdict = Literal["none", "possible", "suspected", "confirmed", "inconclusive"]
MaskingKind = Literal["shattered", "stochastic", "vanishing", "loss-level", "output-level", "other"]
#: What a file of the user's is to an audit; "code": of a model, or of what reads the images.
FileRole = Literal["configuration", "weights", "code", "data", "plugin"]
#: How the audited images are chosen from the set.
Draw = Literal["all", "uniform", "balanced"]
#: "no-requirement": complete, and no gate on an accuracy was set.
Verdict = Literal["pass", "fail", "inconclusive", "no-requirement"]


@dataclass(frozen=True)
class Weighted:
    """What a class-balanced draw says of the whole set: every class counts by its share of it."""

    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class Accuracy:
    """A count of images that are classified correctly, with its exact 95 % interval."""

    correct: int
    total: int
    accuracy: float
    #: Clopper-Pearson interval, [low, high].
    ci95: tuple[float, float]
    #: Only of a class-balanced draw, whose own accuracy is no estimate of the set's.
    weighted: Weighted | None = None


@dataclass(frozen=True)
class ClassAccuracy:
    """One class of a class-balanced draw; `available` images of it are in the set."""

    label: int
    name: str
    available: int
    correct: int
    total: int
    accuracy: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class LossSummary:
    """Distribution of an attack's loss at the end of one restart, over the images it was run on."""

    restart: int
    images: int
    #: Minimum, lower quartile, median, upper quartile, maximum; null where nothing finite was seen.
    quantiles: tuple[float, float, float, float, float] | None


@dataclass(frozen=True)
class StageSummary:
    """What one stage of a composite attack did."""

    name: str
    #: The objective in fact used, and what was differentiated.
    objective: str
    surrogate: str
    #: Images it was run on (those that had withstood), and how many of them fell.
    images: int
    broken: int
    #: Passes of single images, verification included.
    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True)
class SentOn:
    """A part of the battery that broke images of a sample, given to all the other survivors."""

    part: str
    images: int
    broken: int


@dataclass(frozen=True)
class SampleRound:
    """A random sample of an attack's survivors, attacked with everything until something fell."""

    survivors: int
    sampled: int
    #: How many of the sample fell to which part: the sample was over with the first part that broke
    #: any, unless it held all survivors. None fell in the last round, or all were in it.
    broken: dict[str, int]
    sent_on: tuple[SentOn, ...] = ()


@dataclass(frozen=True)
class SampleEvidence:
    """What the full battery did to a random sample of the images that an attack left standing.

    With `confidence` it would break at most `most` of the `survivors`, a share of `bound`; 0 where
    all of them have been attacked with it. `larger` of the sample have withstood all of it at a
    larger epsilon, which counts here too.
    """

    survivors: int
    sampled: int
    broken: int
    confidence: float
    bound: float
    most: int
    rounds: tuple[SampleRound, ...]
    larger: int = 0


@dataclass(frozen=True)
class Agreement:
    """Two independently seeded runs of one attack, image by image."""

    same: int
    total: int
    only_first: int
    only_second: int


@dataclass(frozen=True)
class CurvePoint:
    """The accuracy that is left if every perturbation up to `epsilon` that was found is made."""

    epsilon: float
    accuracy: float


@dataclass(frozen=True)
class AttackResult:
    """One attack against one model under one threat, on its own, over all the images."""

    name: str
    label: str
    parameters: dict[str, Any]
    status: AttackStatus
    #: Why the attack was skipped or failed; empty when it is done.
    reason: str
    robust: Accuracy | None
    #: The same, counting only examples that still fool the model as 8-bit images in the ball.
    robust_8bit: Accuracy | None
    #: Correctly classified images that this attack broke.
    broken: int
    #: Forward and backward passes of single images, verification included.
    forwards: int
    backwards: int
    seconds: float
    surrogate: str
    #: The objective in fact used; it may differ from the parameter when there are few classes.
    objective: str = ""
    #: Claimed successes that the victim did not confirm, by reason.
    rejected: dict[str, int] = field(default_factory=dict)
    #: Images of which at least one gradient held NaN or infinity.
    nonfinite_gradients: int = 0
    #: Images of which at least one gradient was zero everywhere.
    zero_gradients: int = 0
    #: One entry per restart.
    losses: tuple[LossSummary, ...] = ()
    #: Of a composite attack: its stages in order.
    stages: tuple[StageSummary, ...] = ()
    #: Of an attack whose survivors were sampled.
    evidence: SampleEvidence | None = None
    #: Of an attack that was run twice.
    agreement: Agreement | None = None
    #: Of an attack that looks for the smallest perturbation: accuracy against epsilon, from the
    #: distances it found, ascending.
    curve: tuple[CurvePoint, ...] = ()
    #: What it asks of a model, as it declares: "gradient" or "scores"; empty where not recorded.
    needs: str = ""


@dataclass(frozen=True)
class ThreatResult:
    """What one model withstood under one norm and epsilon."""

    norm: str
    epsilon: float
    epsilon_text: str
    rationale: str
    attacks: tuple[AttackResult, ...]
    #: Image by image, the worst over everything that ran at this or a smaller epsilon.
    robust: Accuracy | None
    robust_8bit: Accuracy | None
    certified: Accuracy | None = None
    #: What a plugin's norm measures, in a sentence; empty for those that everybody knows.
    norm_meaning: str = ""
    #: The worst case class by class; only of a class-balanced draw.
    classes: tuple[ClassAccuracy, ...] = ()


@dataclass(frozen=True)
class Hidden:
    """Images that only the attacks which distrust the gradient broke."""

    found: int
    total: int
    fraction: float
    lower_bound: float


@dataclass(frozen=True)
class ChallengeCount:
    """Survivors that were attacked without trust in the gradient, by the strongest such attack."""

    kind: Challenge
    #: Points that an attack looked at for each of them, at least.
    points: int
    images: int
    #: Of the control's hidden examples, those that the same kind of attack found at so many points.
    control_found: int


@dataclass(frozen=True)
class Power:
    """What a verdict of "none" is able to rule out; `stats.detectable` has the formula.

    None in audits of versions that did not record it.
    """

    #: Images looked at.
    samples: int
    #: Hidden examples on so large a share of these would have been seen with 95 % confidence.
    detectable_fraction: float
    #: Images that withstood everything, and those of them that were attacked on the model itself
    #: by a search without a gradient, or by its repaired gradient, as long as in the control.
    survivors: int | None = None
    challenged: int | None = None
    #: The share of the planted mask's hidden examples that the same attacks found: the mean over
    #: the challenged images. Null where there are none.
    sensitivity: float | None = None
    challenges: tuple[ChallengeCount, ...] = ()
    #: Examples that the planted mask hid; 0 without such a control.
    control_hidden: int = 0


@dataclass(frozen=True)
class GalleryItem:
    """One verified adversarial example, as pictures (base64 PNG)."""

    image: int
    norm: str
    epsilon_text: str
    attack: str
    label: str
    clean_prediction: str
    clean_confidence: float
    adversarial_prediction: str
    adversarial_confidence: float
    distance: float
    #: The perturbation is shown as 0.5 + magnification * (adversarial - clean).
    magnification: float
    survives_8bit: bool
    clean_png: str
    perturbation_png: str
    adversarial_png: str


@dataclass(frozen=True)
class Comparison:
    """Attacks that follow the model's own gradient against those that do not, image by image."""

    both: int
    only_gradient: int
    only_others: int
    neither: int


@dataclass(frozen=True)
class ControlTrial:
    """What an attack that distrusts the gradient found of the examples that a planted mask hid."""

    kind: Challenge
    #: Points that it looked at, for each image that withstood.
    points: int
    found: int


@dataclass(frozen=True)
class PlantedControl:
    """The same battery on the audited model with a mask put before it: was that mask found?"""

    detected: bool
    sentence: str
    #: Images that some attack had broken, and that the masked gradient no longer breaks.
    hidden: int = 0
    trials: tuple[ControlTrial, ...] = ()


@dataclass(frozen=True)
class DirectionCurve:
    """The margin max_{i != y} z_i - z_y along one line from a clean image; above 0 it is wrong."""

    image: int
    direction: Literal["gradient", "random"]
    #: Distances from the clean image, in the threat's norm, ascending from 0.
    distances: tuple[float, ...]
    margins: tuple[float, ...]


@dataclass(frozen=True)
class Location:
    """A line of the user's code."""

    #: From the root of the repository that audit.toml lies in, or else from its directory; with
    #: slashes.
    file: str
    line: int


@dataclass(frozen=True)
class Masking:
    """Whether the robust accuracy can be believed.

    Accuracies are fractions of all audited images, at the largest epsilon of the first threat.
    """

    verdict: MaskingVerdict
    #: The verdict in a sentence.
    summary: str
    kind: MaskingKind | None = None
    culprit: str | None = None
    #: Before and after the attacks that distrust the gradient; `reference` says what "before" is.
    gradient_attack_accuracy: float | None = None
    corrected_accuracy: float | None = None
    hidden: Hidden | None = None
    power: Power | None = None
    #: Codes of the findings that the verdict rests on.
    evidence: tuple[str, ...] = ()
    reference: Reference | None = None
    #: What led to the verdict, and what to do next, one sentence each.
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()
    norm: str | None = None
    epsilon_text: str | None = None
    comparison: Comparison | None = None
    control: PlantedControl | None = None
    directions: tuple[DirectionCurve, ...] = ()
    #: Hidden adversarial examples.
    examples: tuple[GalleryItem, ...] = ()
    #: What was shown whatever is missing, from "none" to "confirmed"; and what is missing for
    #: the verdict to be believed where it says less than "confirmed". Null in audits of versions
    #: that did not record it.
    shown: MaskingVerdict | None = None
    lacking: tuple[str, ...] = ()
    #: Of the culprit, where it is in the user's own code.
    location: Location | None = None


@dataclass(frozen=True)
class Measurement:
    """A number that a check measured."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    samples: int
    method: str
    norm: str | None = None
    epsilon: float | None = None


@dataclass(frozen=True)
class AttemptSummary:
    """An attack that a check started."""

    name: str
    surrogate: str
    #: "cross-entropy" or "gradient", if it follows the model's own gradient; else "nothing".
    trust: str
    epsilon: float
    images: int
    broken: int
    #: "masked copy": on the planted mask, where nothing counts.
    on: Literal["model", "masked copy"] = "model"


@dataclass(frozen=True)
class CheckResult:
    """What a check saw, and what that cost."""

    name: str
    label: str
    parameters: dict[str, Any]
    status: CheckStatus
    #: What it saw, in a sentence of plain language; why there is nothing, where it was not done.
    sentence: str
    #: Whether it raised a finding.
    flagged: bool
    forwards: int
    backwards: int
    seconds: float
    attempts: tuple[AttemptSummary, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something a reader should know, with its evidence and what to do about it."""

    code: str
    title: str
    severity: Level
    confidence: Literal["low", "medium", "high"]
    summary: str
    evidence: tuple[str, ...]
    remedy: str
    references: tuple[str, ...] = ()
    #: Stable across runs: sha256 of model name and code, shortened.
    fingerprint: str = ""
    #: Of the line that its evidence names.
    location: Location | None = None


@dataclass(frozen=True)
class ModelResult:
    """Everything measured on one model."""

    name: str
    #: sha256 of weights and code.
    fingerprint: str
    parameters: int
    outputs: str
    precision: str
    classes: int
    clean: Accuracy
    threats: tuple[ThreatResult, ...]
    masking: Masking
    checks: tuple[CheckResult, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    gallery: tuple[GalleryItem, ...] = ()
    #: Clean accuracy class by class; only of a class-balanced draw.
    clean_classes: tuple[ClassAccuracy, ...] = ()
    #: Of its factory.
    location: Location | None = None


@dataclass(frozen=True)
class GateResult:
    """A condition of the configuration, applied."""

    metric: str
    #: For example "at least 0.4" or "at most possible".
    limit: str
    value: float | str | None
    #: Null when it cannot be judged.
    holds: bool | None
    model: str | None = None
    norm: str | None = None
    epsilon: float | None = None
    #: One sentence for people.
    reason: str = ""
    #: The last day of its waiver, such as "2027-03-31", and why it is waived.
    until: str | None = None
    waiver: str = ""
    #: Whether the waiver held when the gate was judged: it is told then, and does not count.
    waived: bool = False


@dataclass(frozen=True)
class Judgement:
    """What an audit was judged by before, and what came of it."""

    #: The day, UTC, on which other gates took the place of these: "2026-12-01".
    until: str
    verdict: Verdict
    exit_status: int
    gates: tuple[GateResult, ...]


@dataclass(frozen=True)
class PluginRecord:
    """A plugin that was loaded, blocked, or found broken."""

    name: str
    origin: str
    version: str
    sha256: str
    status: Literal["loaded", "blocked", "broken"]
    #: What is wrong with it, and what to do about that.
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class FileRecord:
    """A file that the audit was made of."""

    role: FileRole
    #: From the directory of audit.toml, with slashes; absolute where audit.toml has it so.
    name: str
    #: What `sha256sum` gives for it.
    sha256: str
    #: Of weights and of a model's code.
    model: str | None = None


@dataclass(frozen=True)
class DataRecord:
    """The images under audit."""

    adapter: str
    source: str
    sha256: str
    available: int
    audited: int
    #: Channels, height, width.
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    #: How the audited images were chosen; "balanced": the same number of every class.
    draw: Draw = "all"
    #: What was done to images and labels, and what is odd about them, one sentence each.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What is needed to run the audit again and get the same numbers."""

    auditor: str
    python: str
    torch: str
    platform: str
    device: str
    threads: int
    batch_size: int
    seed: int
    #: UTC, ISO 8601.
    started: str
    seconds: float
    command: str
    forwards: int
    backwards: int
    versions: dict[str, str]
    plugins: tuple[PluginRecord, ...]
    #: sha256 of "configuration", "data" and each "model:NAME".
    hashes: dict[str, str]
    data: DataRecord
    #: audit.toml, as the files of a `Location` are written.
    configuration: str = ""
    #: The user's files that all of it was read from; of what is installed, versions say it. Not of
    #: a folder with very many files: `data.sha256` holds for the images in it.
    files: tuple[FileRecord, ...] = ()


@dataclass(frozen=True)
class SelftestRow:
    """One reference model of the self-test."""

    name: str
    #: The verdicts that are right for it.
    expected: tuple[MaskingVerdict, ...]
    verdict: MaskingVerdict


@dataclass(frozen=True)
class SelftestRecord:
    """How the masking verdict of this version judged reference models whose truth is known."""

    #: Of the auditor that ran it, and when: UTC, ISO 8601.
    version: str
    date: str
    #: Masked models that were found, masked models that were not, honest models that were blamed.
    hits: int
    misses: int
    false_alarms: int
    rows: tuple[SelftestRow, ...] = ()


@dataclass(frozen=True)
class AuditResult:
    """The whole of audit.json."""

    schema: Literal["auditor.audit/1"]
    title: str
    profile: str
    status: Literal["complete", "incomplete"]
    verdict: Verdict
    exit_status: int
    #: Why the exit status is what it is, one sentence each.
    reasons: tuple[str, ...]
    #: What this audit did not test, one sentence each.
    not_tested: tuple[str, ...]
    #: Names for the signature lines of the report.
    reviewers: tuple[str, ...]
    models: tuple[ModelResult, ...]
    gates: tuple[GateResult, ...]
    provenance: Provenance
    selftest: SelftestRecord | None = None
    #: Why work is missing, one sentence each; empty where nothing is.
    incomplete: tuple[str, ...] = ()
    #: Of the reports; what stands here is English.
    language: str = "en"
    #: By other gates, oldest first.
    judged_before: tuple[Judgement, ...] = ()


def to_json(result: AuditResult) -> str:
    """`result` as indented JSON text with a final newline."""
    from pydantic import RootModel

    return RootModel[AuditResult](encodable(result)).model_dump_json(indent=2) + "\n"


def from_json(text: str | bytes) -> AuditResult:
    """Read what `to_json` wrote.

    Raises:
        ValueError: the text is not an audit of this schema; what it says names the field.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        result = TypeAdapter(AuditResult).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    _refuse_odd_numbers(result)
    return result


def _refuse_odd_numbers(result: AuditResult) -> None:
    """JSON as Python reads it may hold NaN, infinity and numbers of any length; no audit does.

    Raises:
        ValueError: a field holds one; the text names it.
    """
    open_: list[tuple[str, object]] = [("", result)]
    while open_:
        where, value = open_.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{where[1:]}: {value} is no number that an audit can hold")
        if isinstance(value, int) and value.bit_length() > _BITS:
            raise ValueError(f"{where[1:]}: a number of {value.bit_length():,} bits")
        if is_dataclass(value):
            open_ += [(f"{where}.{name}", part) for name, part in vars(value).items()]
        elif isinstance(value, dict):
            open_ += [(f"{where}.{name}", part) for name, part in value.items()]
        elif isinstance(value, tuple | list):
            open_ += [(f"{where}.{place}", part) for place, part in enumerate(value)]


def json_schema() -> dict[str, Any]:
    """JSON Schema of audit.json."""
    from pydantic import TypeAdapter

    return TypeAdapter(AuditResult).json_schema()
