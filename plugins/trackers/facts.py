"""What of an audit is recorded: plain names, numbers and texts, the same for every tracker."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.api import AttackResult, AuditResult, ModelResult, ThreatResult

#: Trackers that count steps in whole numbers draw curves over millionths of epsilon.
STEPS = 1_000_000
_LONGEST = 60


@dataclass(frozen=True)
class Scalar:
    """A number, or a point of a curve.

    Attributes:
        step: of a curve over a count, such as restarts.
        epsilon: of a curve over epsilon.
    """

    name: str
    value: float
    step: int | None = None
    epsilon: float | None = None

    @property
    def whole_step(self) -> int:
        """The step of trackers that know whole numbers alone."""
        return (self.step or 0) if self.epsilon is None else round(STEPS * self.epsilon)


def parameters(directory: Path) -> dict[str, str]:
    """The configuration with every default, flat: "run.seed", "model.0.name"."""
    with (directory / "config.lock.toml").open("rb") as file:
        tree = tomllib.load(file)
    del tree["track"]  # what it is recorded with is no parameter of it
    return {".".join(map(_part, path)): _text(value) for path, value in _leaves(tree, ())}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, part in enumerate(value):
            yield from _leaves(part, (*path, str(index)))
    else:
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def words(result: AuditResult) -> dict[str, str]:
    """Verdicts, and what the audit is about."""
    about = result.provenance
    masking = {_joined("masking", one.name): one.masking.verdict for one in result.models}
    return {
        "title": result.title,
        "verdict": result.verdict,
        "status": result.status,
        "exit_status": str(result.exit_status),
        "profile": result.profile,
        "auditor": about.auditor,
        "torch": about.torch,
        "device": about.device,
        **masking,
        **{_joined("sha256", *name.split(":", 1)): value for name, value in about.hashes.items()},
    }


def scalars(result: AuditResult) -> Iterator[Scalar]:
    """Every accuracy, the masking measurements, what it cost, and the curves."""
    yield Scalar("gates_broken", sum(one.holds is False and not one.waived for one in result.gates))
    yield Scalar("cost/seconds", result.provenance.seconds)
    yield Scalar("cost/forwards", result.provenance.forwards)
    yield Scalar("cost/backwards", result.provenance.backwards)
    for model in result.models:
        yield from _of_model(model)


def _of_model(model: ModelResult) -> Iterator[Scalar]:
    yield Scalar(_joined("clean_accuracy", model.name), model.clean.accuracy)
    masking = model.masking
    for name in ("gradient_attack_accuracy", "corrected_accuracy"):
        if (value := getattr(masking, name)) is not None:
            yield Scalar(_joined("masking", model.name, name), value)
    if masking.hidden is not None:
        yield Scalar(_joined("masking", model.name, "hidden_examples"), masking.hidden.found)
    for measured in model.measurements:
        size = [] if measured.epsilon is None else [f"{measured.epsilon:.4g}"]
        about = [model.name, measured.name, *filter(None, [measured.norm]), *size]
        yield Scalar(_joined("measurement", *about), measured.value)
    for threat in model.threats:
        yield from _of_threat(model, threat)
    for norm in dict.fromkeys(one.norm for one in model.threats):
        yield from _curves(model, norm, [one for one in model.threats if one.norm == norm])


def _of_threat(model: ModelResult, threat: ThreatResult) -> Iterator[Scalar]:
    where = model.name, threat.norm, threat.epsilon_text
    if threat.robust is not None:
        yield Scalar(_joined("robust_accuracy", *where), threat.robust.accuracy)
        for name, bound in zip(("low", "high"), threat.robust.ci95, strict=True):
            yield Scalar(_joined(f"robust_accuracy_{name}", *where), bound)
    if threat.robust_8bit is not None:
        yield Scalar(_joined("robust_accuracy_8bit", *where), threat.robust_8bit.accuracy)
    for attack in threat.attacks:
        if attack.robust is not None:
            name = _joined("attack_accuracy", *where, attack.label)
            yield Scalar(name, attack.robust.accuracy)
        for loss in attack.losses:
            if loss.quantiles is not None:
                name = _joined("attack_loss", *where, attack.label)
                yield Scalar(name, loss.quantiles[2], loss.restart)


def _curves(model: ModelResult, norm: str, threats: list[ThreatResult]) -> Iterator[Scalar]:
    """Accuracy against epsilon: of all that ran, and of attacks that looked for distances."""
    name = _joined("robust_accuracy_curve", model.name, norm)
    yield Scalar(name, model.clean.accuracy, epsilon=0.0)
    for threat in sorted(threats, key=lambda one: one.epsilon):
        if threat.robust is not None:
            yield Scalar(name, threat.robust.accuracy, epsilon=threat.epsilon)
    found: dict[str, AttackResult] = {}
    for threat in sorted(threats, key=lambda one: one.epsilon):  # the largest knows most
        found |= {attack.label: attack for attack in threat.attacks if attack.curve}
    for label, attack in found.items():
        name = _joined("attack_curve", model.name, norm, label)
        yield from (Scalar(name, one.accuracy, epsilon=one.epsilon) for one in attack.curve)


def _joined(kind: str, *parts: str) -> str:
    return "/".join([kind, *map(_part, parts)])


def _part(text: str) -> str:
    """A name that every tracker takes; one that had to be changed has a hash of what it was."""
    plain = re.sub(r"[^\w .-]", "-", text, flags=re.ASCII).strip(" .")[:_LONGEST]
    if plain in (text, text.replace("/", "-")):
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{plain}-{digest}".lstrip("-")
