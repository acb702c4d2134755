"""The tables of audit.toml, schema 1: their keys as they are written, with types and defaults.

They are the configuration of an audit as well: `auditor.config` reads each from the file, checks it
and completes it. What a table names is filled in then: its name or label, every parameter of a
plugin, and beside the keys, what their paths mean. Dumped, a table is what the lock file has of it,
and tables are equal when that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)

from auditor.language import ENGLISH, languages
from auditor.parameters import NonNegativeInt, PositiveInt
from auditor.schema.values import (
    LEFT_OUT,
    Arguments,
    CallableText,
    Day,
    Device,
    Duration,
    Epsilon,
    Executor,
    Expects,
    Fraction01,
    Length,
    Lengths,
    Limit,
    LongText,
    MaskingLimit,
    Number,
    OrLeftOut,
    PathText,
    SampleCount,
    Seed,
    Text,
)

if TYPE_CHECKING:
    Language = str
else:
    Language = Literal[languages()]


class Table(BaseModel):
    """A table of the file: unknown keys are faults, and text is never taken for a number."""

    # Built when first used: nobody waits for a table that the file does not have.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.model_dump() == other.model_dump()


class OpenTable(Table):
    """A table that names files, or a plugin, whose own keys stand in it too."""

    _paths: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def paths(self) -> dict[str, Any]:
        """What the keys that name files mean: absolute paths, or the names of modules."""
        return self._paths

    @property
    def written(self) -> dict[str, Any]:
        """The keys that are a plugin's own, as plain JSON values, with paths as written."""
        return dict(self.model_extra or {})

    @property
    def parameters(self) -> dict[str, Any]:
        """The same with absolute paths: what the plugin is given."""
        return {key: self.paths.get(key, value) for key, value in self.written.items()}

    def completed(self, keys: dict[str, Any], paths: dict[str, Any] | None = None) -> Self:
        """The table with `keys` filled in; a plugin's own are all among them, in their order."""
        bare = self.model_copy()
        (bare.model_extra or {}).clear()
        complete = bare.model_copy(update=keys)
        complete._paths = {**self.paths, **(paths or {})}
        return complete


class RunConfig(Table):
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


class NormalizeConfig(Table):
    """Per-channel normalisation inside the model; epsilon stays in pixel space."""

    mean: Annotated[list[Number], Expects("a list of numbers, one per channel")]
    std: Annotated[list[Number], Expects("a list of numbers > 0, one per channel")]


class ModelConfig(OpenTable):
    """[[model]]."""

    name: Annotated[Text, OrLeftOut()] = Field(
        default=LEFT_OUT, description="default: the name of the callable"
    )
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
    normalize: NormalizeConfig | None = Field(
        default=None, description="applied inside, after the attack"
    )
    bpda: CallableText | None = Field(
        default=None, description="a differentiable stand-in of the user's"
    )


class LoadedModelConfig(ModelConfig):
    """[[model]] with a `loader`; every other key is the loader's own."""

    model_config = ConfigDict(extra="allow")

    loader: Text
    factory: CallableText | None = None  # type: ignore[assignment]
    kwargs: Arguments | None = None  # type: ignore[assignment]

    @property
    def written(self) -> dict[str, Any]:
        """The loader's own keys; `kwargs` is one of them where it takes any."""
        own = super().written
        return own if self.kwargs is None else {**own, "kwargs": self.kwargs}

    @model_serializer(mode="wrap")
    def _own_keys_beside_the_loader(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree = {key: value for key, value in dump(self).items() if key not in self.written}
        at = list(tree).index("loader") + 1
        items = list(tree.items())
        return dict([*items[:at], *self.written.items(), *items[at:]])


class DataConfig(OpenTable):
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


class ThreatConfig(Table):
    """[[threat]]."""

    norm: Text = Field(description="how a perturbation is measured")
    epsilon: Lengths = Field(description="its largest size, in pixel space")
    rationale: LongText = Field("", description="why this is what an attacker can do")

    @property
    def epsilons(self) -> tuple[Epsilon, ...]:
        """The sizes, in ascending order."""
        given = self.epsilon if isinstance(self.epsilon, list) else [self.epsilon]
        return tuple(sorted(map(Epsilon.of, given), key=lambda size: size.fraction))

    @field_serializer("epsilon")
    def _texts(self, _: object) -> list[str]:
        return [size.text for size in self.epsilons]


class CheckConfig(OpenTable):
    """[[check]]; every other key is its own parameter."""

    model_config = ConfigDict(extra="allow")

    use: Text = Field(description="its name")
    label: Annotated[Text, OrLeftOut()] = Field(
        default=LEFT_OUT, description="how the report calls it; default: its name"
    )
    #: As users call one; the plural is the registry's and the profile's field.
    word: ClassVar[str] = "check"
    _from_profile: bool = PrivateAttr(default=False)

    @property
    def from_profile(self) -> bool:
        """Whether it is one of the profile's; the file may have changed its parameters."""
        return self._from_profile

    def resolved(self, own: dict[str, Any], base: Self | None) -> Self:
        """It with its label and all its own parameters.

        Args:
            own: its parameters, those left out at their defaults.
            base: the one of the profile that it is or changes; what it leaves out is as there.
        """
        said = self.model_fields_set
        left_out = {key: value for key, value in vars(base or self).items() if key not in said}
        complete = self.completed({**left_out, "label": self.label or self.use, **own})
        complete._from_profile = base is not None
        return complete


class AttackConfig(CheckConfig):
    """[[attack]]; every other key is its own parameter."""

    surrogate: Text | None = Field(
        default=None, description="what it runs on; default: the model's own autograd"
    )
    word: ClassVar[str] = "attack"


class GateConfig(Table):
    """[[gate]]: a condition; when it is broken, the audit fails."""

    metric: Text = Field(description="what is compared")
    at_least: Limit | None = Field(default=None, description="the smallest value that holds")
    at_most: Limit | MaskingLimit | None = Field(default=None, description="the largest that holds")
    model: Text | None = Field(default=None, description="only this model")
    norm: Text | None = Field(default=None, description="only this norm")
    epsilon: Length | None = Field(default=None, description="only this epsilon")
    until: Day | None = Field(
        default=None, description="a waiver: up to this day, UTC, the gate is told and not counted"
    )
    reason: LongText | None = Field(default=None, description="why it is waived")

    @property
    def limit(self) -> str:
        """The condition in words."""
        if self.at_least is not None:
            return f"at least {self.at_least}"
        return f"at most {self.at_most}"

    @property
    def size(self) -> float | None:
        """The epsilon as a number."""
        return None if self.epsilon is None else Epsilon.of(self.epsilon).value

    @field_serializer("epsilon")
    def _text(self, _: object) -> str | None:
        return None if self.epsilon is None else Epsilon.of(self.epsilon).text


class ReportConfig(Table):
    """[report]."""

    formats: Annotated[list[str], Expects('a list of formats such as ["html", "pdf"]')] = Field(
        default_factory=lambda: ["html", "pdf"], description="what is written"
    )
    language: Language = Field(default=ENGLISH, description="what the reports are written in")
    gallery: NonNegativeInt = Field(default=12, description="adversarial examples to show")
    reviewers: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description='for the signature lines: "name", or "name, role"'
    )


class TrackConfig(OpenTable):
    """[[track]]; every other key is the tracker's own parameter."""

    model_config = ConfigDict(extra="allow")

    use: Text = Field(description="what the audit is recorded with")


class PluginsConfig(Table):
    """[plugins]."""

    paths: Annotated[list[PathText], Expects("a list of Python files")] = Field(
        default_factory=list,
        description="files (file.py) and modules (package.module) loaded beside installed plugins",
    )
    disable: Annotated[list[Text], Expects("a list of names")] = Field(
        default_factory=list, description="plugins, or what they offer, to leave out"
    )
