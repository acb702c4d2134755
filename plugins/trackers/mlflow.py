"""MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.api import Listener, LoadError, param, tracker

from .facts import Scalar
from .recording import MEMORY, Recording

#: Of one request, as servers limit it; and of one value.
_MOST, _MOST_WORDS, _LONGEST = 1000, 100, 5000
#: A server that does not answer is given up after seconds, not minutes; what goes well is not told.
_UNLESS_SET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


@tracker(name="mlflow", package="mlflow", install="pip install 'robustness-auditor[mlflow]'")
@dataclass(frozen=True)
class MLflow:
    """A run of MLflow, in an experiment of a tracking server or a local store.

    Parameters are the configuration with every default, tags the verdicts, the description a
    summary, artefacts the reports, `audit.json`, `config.lock.toml` and SHA256SUMS. Curves over
    epsilon have millionths of it as steps. An audit that is gone on with goes on in the same run.
    """

    uri: str | None = param(
        None, "the server or store; default: MLflow's own, as in MLFLOW_TRACKING_URI"
    )
    experiment: str = param("auditor", "the experiment, which is made if it does not exist")

    def listener(self) -> Listener:
        """A recording of one audit."""
        return _Recording(self)


class _Recording(Recording):
    name = "mlflow"

    def __init__(self, settings: MLflow) -> None:
        super().__init__()
        self._settings = settings

    def begin(self, directory: Path, run: str | None, parameters: dict[str, str]) -> str:
        for name, value in _UNLESS_SET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(self._settings.uri)
        known = self._known(run, directory) if run else {}
        self._run = run or self._new(directory.name)
        # They can be set once: an audit that is gone on with keeps those that it began with.
        new = [Param(key, _cut(text)) for key, text in parameters.items() if key not in known]
        for start in range(0, len(new), _MOST_WORDS):
            self._client.log_batch(self._run, params=new[start : start + _MOST_WORDS])
        return self._run

    def _new(self, name: str) -> str:
        """A run, in the experiment that was asked for."""
        wanted = self._settings.experiment
        found = self._client.get_experiment_by_name(wanted)
        experiment = found.experiment_id if found else self._client.create_experiment(wanted)
        made: str = self._client.create_run(experiment, run_name=name).info.run_id
        return made

    def _known(self, run: str, directory: Path) -> dict[str, str]:
        """The parameters of a run that is gone on with, which is running from now on.

        Raises:
            LoadError: the store does not have it.
        """
        from mlflow.exceptions import MlflowException

        try:
            parameters: dict[str, str] = self._client.get_run(run).data.params
            self._client.update_run(run, status="RUNNING")
        except MlflowException as error:
            raise LoadError(
                f"The run {run}, in which this audit was begun, cannot be gone on with: {error}",
                where=f"{directory.name}/{MEMORY}",
                expected="the run in the store that `uri` names",
                remedy=f"name that store, or remove {MEMORY}: a new run is begun then",
            ) from error
        return parameters

    def numbers(self, scalars: Sequence[Scalar]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        found = [Metric(one.name, one.value, now, one.whole_step) for one in scalars]
        for start in range(0, len(found), _MOST):
            self._client.log_batch(self._run, metrics=found[start : start + _MOST])

    def texts(self, words: dict[str, str], summary: str) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(f"auditor.{name}", _cut(text)) for name, text in words.items()]
        tags.append(RunTag("mlflow.note.content", _cut(summary)))
        for start in range(0, len(tags), _MOST_WORDS):
            self._client.log_batch(self._run, tags=tags[start : start + _MOST_WORDS])

    def files(self, files: Sequence[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._run, str(file))

    def end(self) -> None:
        self._client.set_terminated(self._run)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
