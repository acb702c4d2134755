"""Weights & Biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor.api import Listener, param, tracker

from .facts import Scalar
from .recording import Recording


@tracker(name="wandb", package="wandb", install="pip install 'robustness-auditor[wandb]'")
@dataclass(frozen=True)
class WandB:
    """A run of Weights & Biases; offline, unless `mode` says otherwise.

    What is recorded offline lies in the folder `wandb` of the run directory until `wandb sync`
    sends it. Its config is the configuration with every default, its summary has the verdicts, and
    an artefact holds the reports, `audit.json` and `config.lock.toml`. An audit that is gone on
    with goes on in the same run.
    """

    project: str = param("auditor", "the project, which is made if it does not exist")
    entity: str | None = param(None, "the user or team that it belongs to; default: your own")
    mode: Literal["offline", "online"] = param("offline", "online: sends while the audit runs")

    def listener(self) -> Listener:
        """A recording of one audit."""
        return _Recording(self)


class _Recording(Recording):
    name = "wandb"

    def __init__(self, settings: WandB) -> None:
        super().__init__()
        self._settings = settings
        self._curves: set[str] = set()

    def begin(self, directory: Path, run: str | None, parameters: dict[str, str]) -> str:
        import wandb

        self._directory = directory
        self._run = wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            mode=self._settings.mode,
            name=directory.name,
            id=run,
            resume="allow",
            dir=str(directory),
            config=parameters,
            # Nothing of the machine, the code, or what is printed.
            settings=wandb.Settings(
                console="off",
                disable_code=True,
                disable_git=True,
                save_code=False,
                silent=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        return str(self._run.id)

    def numbers(self, scalars: Sequence[Scalar]) -> None:
        """Curves point by point, each with its epsilon or step; everything else at once."""
        flat: dict[str, float] = {}
        for one in scalars:
            if one.epsilon is not None:
                self._point(one, "epsilon", one.epsilon)
            elif one.step is not None:
                self._point(one, "count", one.step)
            else:
                flat[one.name] = one.value
        if flat:
            self._run.log(flat)

    def _point(self, one: Scalar, axis: str, at: float) -> None:
        if one.name not in self._curves:
            self._curves.add(one.name)
            self._run.define_metric(one.name, step_metric=axis)
        self._run.log({axis: at, one.name: one.value})

    def texts(self, words: dict[str, str], summary: str) -> None:
        for name, text in words.items():
            self._run.summary[name] = text
        self._run.notes = summary

    def files(self, files: Sequence[Path]) -> None:
        import wandb

        artefact = wandb.Artifact(f"audit-{self._run.id}", type="audit")
        for file in files:
            artefact.add_file(str(file))
        self._run.log_artifact(artefact)

    def end(self) -> None:
        self._run.finish()
