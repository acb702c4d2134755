"""An audit as it will be run: names resolved, paths absolute, every default filled in.

What is the same for a reader of a configuration and of its lock file is compared by `==`; where the
values came from (the file, a profile, a default) is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class RunConfig:
    """How the audit runs."""

    seed: int
    device: str
    threads: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    search_precision: Literal["auto", "float32", "tf32", "bfloat16"]
    output: Path
    output_text: str
    executor: str
    #: Seconds.
    time_budget: float | None


@dataclass(frozen=True)
class Normalize:
    """Per-channel normalisation that is applied inside the model."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model under audit.

    It is made by a factory, and then exactly one of `factory_path` and `factory_module` is set, or
    by a plugin's `loader`. The `..._text` are as written.
    """

    name: str
    factory: str = ""
    factory_path: Path | None = None
    factory_module: str | None = None
    factory_callable: str = ""
    kwargs: dict[str, Any] = field(default_factory=dict)
    loader: str | None = None
    #: The loader's own, with absolute paths, and with paths as written.
    loader_parameters: dict[str, Any] = field(default_factory=dict)
    loader_written: dict[str, Any] = field(default_factory=dict)
    weights: Path | None
    weights_text: str | None
    checkpoint: Path | None = None
    checkpoint_text: str | None = None
    checkpoint_key: str | None = None
    output_key: str | int | None = None
    outputs: str
    precision: str
    normalize: Normalize | None
    #: "file.py:callable" of the user's stand-in as written, and the file.
    bpda: str | None = None
    bpda_path: Path | None = None


@dataclass(frozen=True)
class DataConfig:
    """The images.

    `parameters` are the adapter's own, with absolute paths; `written` are the same with paths as
    written.
    """

    adapter: str
    parameters: dict[str, Any]
    written: dict[str, Any]
    samples: int | None
    draw: Literal["uniform", "balanced"]
    expected_accuracy: float | None


@dataclass(frozen=True)
class Epsilon:
    """The size of a perturbation in pixel space, and how its author wrote it."""

    value: float
    text: str

    @property
    def fraction(self) -> Fraction:
        """The exact value, for comparison."""
        return Fraction(self.text.replace(" ", ""))


@dataclass(frozen=True)
class ThreatConfig:
    """A norm, with epsilons in ascending order."""

    norm: str
    epsilons: tuple[Epsilon, ...]
    rationale: str


@dataclass(frozen=True)
class AttackConfig:
    """An attack with all its parameters, as plain JSON values.

    `surrogate` names what it runs on, if that is not the victim's own autograd.
    """

    use: str
    label: str
    parameters: dict[str, Any]
    surrogate: str | None = None
    from_profile: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class CheckConfig:
    """A check with all its parameters, as plain JSON values."""

    use: str
    label: str
    parameters: dict[str, Any]
    from_profile: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class GateConfig:
    """A condition on `metric`; exactly one of `at_least` and `at_most` is set."""

    metric: str
    at_least: float | None
    at_most: float | str | None
    model: str | None
    norm: str | None
    epsilon: float | None
    epsilon_text: str | None
    #: It is a gate of every audit, and was not written.
    implied: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class ReportConfig:
    """What is written about the audit."""

    formats: tuple[str, ...]
    gallery: int
    reviewers: tuple[str, ...]


@dataclass(frozen=True)
class PluginsConfig:
    """Which plugins are loaded beside the installed ones, and what is left out."""

    #: Files, and names of modules.
    paths: tuple[Path | str, ...]
    paths_text: tuple[str, ...]
    disable: tuple[str, ...]


@dataclass(frozen=True)
class AuditConfig:
    """The whole of an audit.toml."""

    path: Path = field(compare=False)
    title: str
    profile: str
    run: RunConfig
    models: tuple[ModelConfig, ...]
    data: DataConfig
    threats: tuple[ThreatConfig, ...]
    attacks: tuple[AttackConfig, ...]
    checks: tuple[CheckConfig, ...]
    gates: tuple[GateConfig, ...]
    report: ReportConfig
    plugins: PluginsConfig
    #: Labels of the profile's attacks that `disable` left out.
    left_out: tuple[str, ...] = field(default=(), compare=False)
    #: Whether the file adds attacks or checks to the profile's, or changes these.
    extends: bool = field(default=False, compare=False)

    @property
    def attacks_from_profile(self) -> bool:
        """Whether the battery is the profile's, and not the file's own."""
        return any(attack.from_profile for attack in self.attacks) or bool(self.left_out)

    @property
    def directory(self) -> Path:
        """What the paths in the file are relative to."""
        return self.path.parent
