"""The attacks of an audit as they were configured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.language import _
from auditor.report.wording import listed, norm, shorten
from auditor.results import ModelResult


@dataclass(frozen=True)
class Method:
    """An attack with one set of parameters, and all that it searched on and aimed at."""

    label: str
    name: str
    parameters: dict[str, Any]
    surrogates: str
    objectives: str
    #: Where these parameters applied; empty where the attack had no others anywhere.
    scope: str


def methods(models: Sequence[ModelResult]) -> Iterator[Method]:
    """Every attack that was configured, once per set of parameters."""
    used: dict[tuple[str, str, str], list[tuple[str, str, str, str]]] = {}
    parameters: dict[tuple[str, str, str], dict[str, Any]] = {}
    for model in models:
        for threat in model.threats:
            where = f"{norm(threat.norm)} {threat.epsilon_text}"
            for attack in threat.attacks:
                text = json.dumps(attack.parameters, sort_keys=True, default=str)
                key = (attack.label, attack.name, text)
                parameters[key] = attack.parameters
                row = (model.name, where, attack.surrogate, attack.objective)
                used.setdefault(key, []).append(row)
    labels = [label for label, _, _ in used]
    for key, rows in used.items():
        label, name = key[:2]
        models_, threats, surrogates, objectives = (
            listed(dict.fromkeys(text for text in column if text))
            for column in zip(*rows, strict=True)
        )
        several = labels.count(label) > 1
        where, whom = shorten(threats, 120), shorten(models_, 120)
        scope = _("{threats} on {models}").format(threats=where, models=whom) if several else ""
        yield Method(label, name, parameters[key], surrogates, objectives, scope)
