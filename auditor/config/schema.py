"""The keys of audit.toml, schema 1, as they are written: names, types and defaults, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, StringConstraints

from auditor.quantities import NonNegativeInt, PositiveInt


@dataclass(frozen=True)
class Expects:
    """What a value has to be, in words, where its type alone says too little."""

    text: str


Text = Annotated[
    str, StringConstraints(min_length=1, pattern=r"^[^\n]*$"), Expects("text, on one line")
]
PathText = Annotated[str, StringConstraints(min_length=1), Expects("a path, as text")]
CallableText = Annotated[
    str,
    StringConstraints(pattern=r"^(.+\.py|[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*(\.[^\W\d]\w*)*$"),
    Expects('"file.py:callable" or "package.module:callable"'),
]
Number = Annotated[FiniteFloat, Expects("a number")]
Fraction01 = Annotated[float, Ge(0), Le(1)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
Device = Annotated[
    str,
    StringConstraints(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+|mps)$"),
    Expects('"auto", "cpu", "cuda", "cuda:1" (or another index), or "mps"'),
]
Duration = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"),
    Expects('a length of time > 0 as text, such as "90s", "30m", "2h" or "1h30m"'),
]
Length = Annotated[float | str, Expects('a number > 0, or a fraction as text such as "8/255"')]
Lengths = Annotated[
    Length | list[Length],
    Expects('a number > 0, a fraction as text such as "8/255", or a list of these'),
]
MaskingLimit = Literal["none", "possible", "suspected", "confirmed"]


class Table(BaseModel):
    """A table of the file: unknown keys are faults, and text is never taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RunTable(Table):
    """[run]."""

    seed: Seed = Field(0, description="every random number follows from it")
    device: Device = Field("auto", description="where the model runs")
    threads: PositiveInt | Literal["auto"] = Field("auto", description="CPU threads")
    batch_size: PositiveInt | Literal["auto"] = Field("auto", description="images at a time")
    output: PathText = Field("audits", description="directory in which run directories are made")
    executor: Literal["local", "ray"] = Field("local", description="what runs the cells")
    time_budget: Duration | None = Field(None, description="stop starting new work after it")


class NormalizeTable(Table):
    """Per-channel normalisation inside the model; epsilon stays in pixel space."""

    mean: Annotated[list[Number], Expects("a list of numbers, one per channel")]
    std: Annotated[list[Number], Expects("a list of numbers > 0, one per channel")]


class ModelTable(Table):
    """[[model]]."""

    name: Text | None = Field(None, description="default: the name of the callable")
    factory: CallableText = Field(description="what returns the torch.nn.Module")
    kwargs: Annotated[dict[str, JsonValue], Expects("a table of arguments for the factory")] = (
        Field(default_factory=dict, description="arguments of the factory")
    )
    weights: PathText | None = Field(None, description="a .safetensors file")
    outputs: Literal["logits", "log-probabilities", "probabilities", "auto"] = Field(
        "auto", description="what the model returns"
    )
    precision: Literal["float32", "float16", "bfloat16", "float64"] = Field(
        "float32", description="the precision it is deployed in"
    )
    normalize: NormalizeTable | None = Field(None, description="applied inside, after the attack")
    bpda: CallableText | None = Field(None, description="a differentiable stand-in of the user's")


class DataTable(Table):
    """[data]; every other key is the adapter's own."""

    model_config = ConfigDict(extra="allow")

    adapter: Text = Field(description="what reads the images")
    samples: PositiveInt | None = Field(None, description="size of the draw; default: all images")
    expected_accuracy: Fraction01 | None = Field(
        None, description="the run stops when clean accuracy is far from it"
    )


class ThreatTable(Table):
    """[[threat]]."""

    norm: Text = Field(description="how a perturbation is measured")
    epsilon: Lengths = Field(description="its largest size, in pixel space")
    rationale: str = Field("", description="why this is what an attacker can do")


class UseTable(Table):
    """[[attack]] or [[check]]; every other key is its own parameter."""

    model_config = ConfigDict(extra="allow")

    use: Text = Field(description="its name")
    label: Text | None = Field(None, description="how the report calls it; default: its name")


class GateTable(Table):
    """[[gate]]: a condition; when it is broken, the audit fails."""

    metric: Text = Field(description="what is compared")
    at_least: Fraction01 | None = Field(None, description="the smallest value that holds")
    at_most: Fraction01 | MaskingLimit | None = Field(None, description="the largest that holds")
    model: Text | None = Field(None, description="only this model")
    norm: Text | None = Field(None, description="only this norm")
    epsilon: Length | None = Field(None, description="only this epsilon")


class ReportTable(Table):
    """[report]."""

    formats: Annotated[list[str], Expects('a list of formats such as ["html", "pdf"]')] = Field(
        default_factory=lambda: ["html", "pdf"], description="what is written"
    )
    gallery: NonNegativeInt = Field(12, description="adversarial examples to show")
    reviewers: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description="names for the signature lines"
    )


class PluginsTable(Table):
    """[plugins]."""

    paths: Annotated[list[PathText], Expects("a list of Python files")] = Field(
        default_factory=list, description="files loaded beside the installed plugins"
    )
    disable: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description="plugins, or what they offer, to leave out"
    )


class HeadTable(Table):
    """The keys before the first table."""

    title: Text | None = Field(None, description="default: the first model's name")
    profile: Text = Field("standard", description="the battery that runs when no attack is named")


class AuditFile(HeadTable):
    """audit.toml, schema 1."""

    schema_version: Literal[1] = Field(alias="schema", description="the version of this format")
    run: RunTable = Field(default_factory=RunTable)
    model: list[ModelTable] | ModelTable
    data: DataTable
    threat: list[ThreatTable] | ThreatTable
    attack: list[UseTable] | UseTable | None = None
    check: list[UseTable] | UseTable | None = None
    gate: list[GateTable] | GateTable = Field(default_factory=list)
    report: ReportTable = Field(default_factory=ReportTable)
    plugins: PluginsTable = Field(default_factory=PluginsTable)


#: The tables of the file. The ones of `ARRAYS` may stand there several times.
TABLES: dict[str, type[Table]] = {
    "run": RunTable,
    "model": ModelTable,
    "data": DataTable,
    "threat": ThreatTable,
    "attack": UseTable,
    "check": UseTable,
    "gate": GateTable,
    "report": ReportTable,
    "plugins": PluginsTable,
}
ARRAYS = ("model", "threat", "attack", "check", "gate")


def json_schema() -> dict[str, Any]:
    """JSON Schema of audit.toml."""
    return AuditFile.model_json_schema(by_alias=True)
