"""audit.toml as a whole, and the audit that it means: every name resolved, every default there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny
from pydantic.json_schema import SkipJsonSchema

from auditor.schema.tables import (
    AttackConfig,
    CheckConfig,
    DataConfig,
    GateConfig,
    LoadedModelConfig,
    ModelConfig,
    PluginsConfig,
    ReportConfig,
    RunConfig,
    Table,
    ThreatConfig,
    TrackConfig,
)
from auditor.schema.values import LEFT_OUT, OrAlone, OrLeftOut, Text


class HeadTable(Table):
    """The keys before the first table."""

    title: Annotated[Text, OrLeftOut()] = Field(
        default=LEFT_OUT, description="default: the first model's name"
    )
    profile: Text = Field(
        default="standard", description="the battery that runs when no attack is named"
    )
    battery: Literal["replace", "extend"] = Field(
        default="replace",
        description="whether [[attack]] and [[check]] stand for the profile's or beside them",
        exclude=True,  # what it came to is written out
    )


class AuditConfig(HeadTable):
    """audit.toml, schema 1."""

    schema_version: Literal[1] = Field(alias="schema", description="the version of this format")
    run: RunConfig = Field(default_factory=RunConfig)
    models: Annotated[tuple[SerializeAsAny[ModelConfig | LoadedModelConfig], ...], OrAlone()] = (
        Field(alias="model")
    )
    data: DataConfig
    threats: Annotated[tuple[ThreatConfig, ...], OrAlone()] = Field(alias="threat")
    attacks: Annotated[tuple[AttackConfig, ...], OrAlone(), OrLeftOut()] = Field(
        default=LEFT_OUT, alias="attack"
    )
    checks: Annotated[tuple[CheckConfig, ...], OrAlone(), OrLeftOut()] = Field(
        default=LEFT_OUT, alias="check"
    )
    gates: Annotated[tuple[GateConfig, ...], OrAlone()] = Field(default_factory=tuple, alias="gate")
    report: ReportConfig = Field(default_factory=lambda: ReportConfig())
    tracks: Annotated[tuple[TrackConfig, ...], OrAlone()] = Field(
        default_factory=tuple, alias="track"
    )
    plugins: PluginsConfig = Field(default_factory=PluginsConfig)

    # What resolving adds.
    path: SkipJsonSchema[Path] = Field(default=LEFT_OUT, exclude=True)
    #: Labels of the profile's attacks that `disable` left out.
    left_out: SkipJsonSchema[tuple[str, ...]] = Field(default=(), exclude=True)
    #: Whether the file adds attacks or checks to the profile's, or changes these.
    extends: SkipJsonSchema[bool] = Field(default=False, exclude=True)

    @property
    def directory(self) -> Path:
        """What the paths in the file are relative to."""
        return self.path.parent

    @property
    def output(self) -> Path:
        """The directory in which run directories are made."""
        return (self.directory / self.run.output).absolute()

    @property
    def attacks_from_profile(self) -> bool:
        """Whether the battery is the profile's, and not the file's own."""
        return any(attack.from_profile for attack in self.attacks) or bool(self.left_out)


#: The tables of the file. The ones of `ARRAYS` may stand there several times.
TABLES: dict[str, type[Table]] = {
    "run": RunConfig,
    "model": ModelConfig,
    "data": DataConfig,
    "threat": ThreatConfig,
    "attack": AttackConfig,
    "check": CheckConfig,
    "gate": GateConfig,
    "report": ReportConfig,
    "track": TrackConfig,
    "plugins": PluginsConfig,
}
ARRAYS = ("model", "threat", "attack", "check", "gate", "track")


def json_schema() -> dict[str, Any]:
    """JSON Schema of audit.toml."""
    return AuditConfig.model_json_schema(by_alias=True)
