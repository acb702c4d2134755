"""The keys of audit.toml, schema 1, as they are written: names, types and defaults."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, StringConstraints

from auditor.parameters import NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class Expects:
    """What a value has to be, in words, where its type alone says too little.

    `remedy` sees the wrong value, and says what was probably meant, or nothing.
    """

    text: str
    remedy: Callable[[Any], str] = lambda given: ""


def _as_callable(given: Any) -> str:
    """What is missing from the name of a callable."""
    if not isinstance(given, str):
        return ""
    file, _, name = given.partition(":")
    if file.endswith(".py"):
        return f'add what is to be called: "{file}:NAME"'
    return f'a file is named with its ending: "{file}.py:{name or "NAME"}"' if "/" in file else ""


def _as_fraction(given: Any) -> str:
    """A percentage as a number from 0 to 1."""
    text = str(given).strip()
    if not re.fullmatch(r"\d+(\.\d+)?( ?%)?", text):
        return ""
    percent = float(text.rstrip(" %"))
    return f"for {percent:g} % write {percent / 100:g}" if 2 <= percent <= 100 else ""


def _as_device(given: Any) -> str:
    return 'did you mean "cuda"?' if str(given).lower().startswith("gpu") else ""


#: Letters that a name or a title may have, and a paragraph.
_NAME, _PARAGRAPH = 500, 5_000


def _shorter(given: Any, limit: int) -> str:
    """What to do about a text that no page has room for."""
    if not isinstance(given, str) or len(given) <= limit:
        return ""
    return f"it has {len(given):,} letters: shorten it to {limit:,}"


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=_NAME, pattern=r"^[^\n]*$"),
    Expects("text in quotes, on one line", lambda given: _shorter(given, _NAME)),
]
LongText = Annotated[
    str,
    StringConstraints(max_length=_PARAGRAPH),
    Expects("text in quotes", lambda given: _shorter(given, _PARAGRAPH)),
]
PathText = Annotated[str, StringConstraints(min_length=1), Expects("a path in quotes")]
CallableText = Annotated[
    str,
    StringConstraints(pattern=r"^(.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*(\.[^\W\d]\w*)*$"),
    Expects('"file.py:callable" or "package.module:callable"', _as_callable),
]
Number = Annotated[FiniteFloat, Expects("a finite number")]
Fraction01 = Annotated[float, Ge(0), Le(1), Expects("a number from 0 to 1", _as_fraction)]
SampleCount = Annotated[PositiveInt, Expects("an integer > 0; leave the key out for all images")]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Device = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+|mps)$"),
    Expects('"auto", "cpu", "cuda", "cuda:1" (or another index), or "mps"', _as_device),
]
Duration = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"),
    Expects('a length of time > 0 as text, such as "90s", "30m", "2h" or "1h30m"'),
]
Executor = Annotated[Literal["local", "ray"], Expects('"local"')]
Length = Annotated[
    int | float | str, Expects('a number > 0, or a fraction as text such as "8/255"')
]
Lengths = Annotated[
    Length | list[Length],
    Expects('a number > 0, a fraction as text such as "8/255", or a list of these'),
]
Argument = Annotated[
    JsonValue, Expects("text, a number, true or false, or a list or table of these")
]
Arguments = Annotated[dict[str, Argument], Expects("a table of arguments for the factory")]
MaskingLimit = Literal["none", "possible", "suspected", "confirmed"]


class Table(BaseModel):
    """A table of the file: unknown keys are faults, and text is never taken for a number."""

    # Built when first used: nobody waits for a table that the file does not have.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class RunTable(Table):
    """[run]."""

    seed: Seed = Field(default=0, description="every random number follows from it")
    device: Device = Field(default="auto", description="where the model runs")
    threads: PositiveInt | Literal["auto"] = Field(default="auto", description="CPU threads")
    batch_size: PositiveInt | Literal["auto"] = Field(
        default="auto", description="images at a time"
    )
    search_precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        default="auto", description="what attacks may search in; every success is verified"
    )
    output: PathText = Field(
        default="audits", description="directory in which run directories are made"
    )
    executor: Executor = Field(default="local", description="what runs the cells")
    time_budget: Duration | None = Field(
        default=None, description="start no new work, and no further step of an attack, after it"
    )


class NormalizeTable(Table):
    """Per-channel normalisation inside the model; epsilon stays in pixel space."""

    mean: Annotated[list[Number], Expects("a list of numbers, one per channel")]
    std: Annotated[list[Number], Expects("a list of numbers > 0, one per channel")]


class ModelTable(Table):
    """[[model]]."""

    name: Text | None = Field(default=None, description="default: the name of the callable")
    factory: CallableText = Field(description="what returns the torch.nn.Module")
    kwargs: Arguments = Field(default_factory=dict, description="arguments of the factory")
    loader: Text | None = Field(
        default=None, description="what makes the model in place of a factory; has keys of its own"
    )
    weights: PathText | None = Field(default=None, description="a .safetensors file")
    checkpoint: PathText | None = Field(
        default=None, description="a file of torch.save, read without running code in it"
    )
    checkpoint_key: Text | None = Field(
        default=None, description="which of several state dicts in the checkpoint"
    )
    output_key: Text | NonNegativeInt | None = Field(
        default=None,
        description="where the scores are in the tuple, dict or object that the model returns",
    )
    outputs: Literal["logits", "log-probabilities", "probabilities", "auto"] = Field(
        default="auto", description="what the model returns"
    )
    precision: Literal["auto", "float32", "float16", "bfloat16", "float64"] = Field(
        default="auto", description="the precision it is deployed in; auto: that of its weights"
    )
    normalize: NormalizeTable | None = Field(
        default=None, description="applied inside, after the attack"
    )
    bpda: CallableText | None = Field(
        default=None, description="a differentiable stand-in of the user's"
    )


class LoadedModelTable(ModelTable):
    """[[model]] with a `loader`; every other key is the loader's own."""

    model_config = ConfigDict(extra="allow")

    loader: Text
    factory: CallableText | None = None  # type: ignore[assignment]
    kwargs: Arguments | None = None  # type: ignore[assignment]


class DataTable(Table):
    """[data]; every other key is the adapter's own."""

    model_config = ConfigDict(extra="allow")

    adapter: Text = Field(description="what reads the images")
    samples: SampleCount | None = Field(
        default=None, description="size of the draw; default: all images"
    )
    draw: Literal["uniform", "balanced"] = Field(
        default="uniform",
        description="uniform: its accuracy speaks of the set; balanced: as many of every class",
    )
    expected_accuracy: Fraction01 | None = Field(
        default=None, description="the run stops when clean accuracy is far from it"
    )


class ThreatTable(Table):
    """[[threat]]."""

    norm: Text = Field(description="how a perturbation is measured")
    epsilon: Lengths = Field(description="its largest size, in pixel space")
    rationale: LongText = Field("", description="why this is what an attacker can do")


class UseTable(Table):
    """[[check]]; every other key is its own parameter."""

    model_config = ConfigDict(extra="allow")

    use: Text = Field(description="its name")
    label: Text | None = Field(
        default=None, description="how the report calls it; default: its name"
    )


class AttackTable(UseTable):
    """[[attack]]; every other key is its own parameter."""

    surrogate: Text | None = Field(
        default=None, description="what it runs on; default: the model's own autograd"
    )


class GateTable(Table):
    """[[gate]]: a condition; when it is broken, the audit fails."""

    metric: Text = Field(description="what is compared")
    at_least: Fraction01 | None = Field(default=None, description="the smallest value that holds")
    at_most: Fraction01 | MaskingLimit | None = Field(
        default=None, description="the largest that holds"
    )
    model: Text | None = Field(default=None, description="only this model")
    norm: Text | None = Field(default=None, description="only this norm")
    epsilon: Length | None = Field(default=None, description="only this epsilon")


class ReportTable(Table):
    """[report]."""

    formats: Annotated[list[str], Expects('a list of formats such as ["html", "pdf"]')] = Field(
        default_factory=lambda: ["html", "pdf"], description="what is written"
    )
    gallery: NonNegativeInt = Field(default=12, description="adversarial examples to show")
    reviewers: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description="names for the signature lines"
    )


class PluginsTable(Table):
    """[plugins]."""

    paths: Annotated[list[PathText], Expects("a list of Python files")] = Field(
        default_factory=list,
        description="files (file.py) and modules (package.module) loaded beside installed plugins",
    )
    disable: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description="plugins, or what they offer, to leave out"
    )


class HeadTable(Table):
    """The keys before the first table."""

    title: Text | None = Field(default=None, description="default: the first model's name")
    profile: Text = Field(
        default="standard", description="the battery that runs when no attack is named"
    )
    battery: Literal["replace", "extend"] = Field(
        default="replace",
        description="whether [[attack]] and [[check]] stand for the profile's or beside them",
    )


class AuditFile(HeadTable):
    """audit.toml, schema 1."""

    schema_version: Literal[1] = Field(alias="schema", description="the version of this format")
    run: RunTable = Field(default_factory=RunTable)
    model: list[ModelTable | LoadedModelTable] | ModelTable | LoadedModelTable
    data: DataTable
    threat: list[ThreatTable] | ThreatTable
    attack: list[AttackTable] | AttackTable | None = None
    check: list[UseTable] | UseTable | None = None
    gate: list[GateTable] | GateTable = Field(default_factory=list)
    report: ReportTable = Field(default_factory=lambda: ReportTable())
    plugins: PluginsTable = Field(default_factory=PluginsTable)


#: The tables of the file. The ones of `ARRAYS` may stand there several times.
TABLES: dict[str, type[Table]] = {
    "run": RunTable,
    "model": ModelTable,
    "data": DataTable,
    "threat": ThreatTable,
    "attack": AttackTable,
    "check": UseTable,
    "gate": GateTable,
    "report": ReportTable,
    "plugins": PluginsTable,
}
ARRAYS = ("model", "threat", "attack", "check", "gate")


def json_schema() -> dict[str, Any]:
    """JSON Schema of audit.toml."""
    return AuditFile.model_json_schema(by_alias=True)
