"""The evaluation block of a model card of Hugging Face."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from auditor.api import (
    Accuracy,
    AuditResult,
    ModelResult,
    one_line,
    reporter,
    threat_text,
    write_atomically,
)

from .judged import verdict_text
from .markdown import accuracies
from .markup import code, text

_TASK = {"type": "image-classification", "name": "Image Classification"}


@reporter(name="model-card")
def model_card(result: AuditResult, directory: Path) -> Path:
    """model-card.md: the evaluation block of a Hugging Face model card, metadata and a section."""
    path = directory / "model-card.md"
    front = {"model-index": [_entry(result, model) for model in result.models]}
    lines = ["---", *_yaml(front), "---", "", *_section(result), ""]
    write_atomically(path, "\n".join(lines).encode())
    return path


def _entry(result: AuditResult, model: ModelResult) -> dict[str, Any]:
    return {
        "name": one_line(model.name),
        "results": [
            {"task": _TASK, "dataset": _dataset(result), "metrics": list(_metrics(result, model))}
        ],
    }


def _dataset(result: AuditResult) -> dict[str, Any]:
    data = result.provenance.data
    slug = re.sub(r"[^\w.-]+", "-", PurePath(data.source).stem).strip("-") or data.adapter
    name = f"{_name(result)} ({data.audited:,} of {data.available:,} images)"
    return {"type": one_line(slug), "name": name, "args": {"sha256": data.sha256}}


def _name(result: AuditResult) -> str:
    """Of the data; the folders that they lie in on some machine are nobody's business."""
    data = result.provenance.data
    return one_line(PurePath(data.source).name) or data.adapter


def _metrics(result: AuditResult, model: ModelResult) -> Iterator[dict[str, Any]]:
    """The Hub knows `accuracy`; what was done to the images is in the name and the arguments."""
    yield _metric("Accuracy", model.clean, {})
    for threat in model.threats:
        if threat.robust is not None:
            about = {
                "norm": one_line(threat.norm),
                "epsilon": threat.epsilon,
                "profile": one_line(result.profile),
                "gradient_masking": model.masking.verdict,
            }
            yield _metric(f"Robust accuracy ({threat_text(threat)})", threat.robust, about)


def _metric(name: str, measured: Accuracy, about: dict[str, Any]) -> dict[str, Any]:
    args = {"ci95": list(measured.ci95), "images": measured.total, **about}
    return {"type": "accuracy", "value": measured.accuracy, "name": one_line(name), "args": args}


def _section(result: AuditResult) -> Iterator[str]:
    about = result.provenance
    yield "## Adversarial robustness"
    yield ""
    yield (
        f"Audited with auditor {text(about.auditor)}, profile {text(result.profile)}, on "
        f"{about.data.audited:,} images of {text(_name(result))} ({text(about.started[:10])}): "
        f"{verdict_text(result)}. The robust accuracy is the share of images that withstood every "
        "attack that ran, and so an upper bound."
    )
    yield ""
    yield from accuracies(result.models)
    for model in result.models:
        masking = model.masking
        said = f"* {code(model.name)}: gradient masking {masking.verdict}. "
        yield said + text(masking.summary)
    yield ""
    for one in result.not_tested:
        yield f"* Not tested: {text(one)}"


def _yaml(value: Any) -> Iterator[str]:
    """The lines of plain data in YAML; every text is quoted as in JSON, which is YAML too."""
    if isinstance(value, dict):
        for key, part in value.items():
            if _is_block(part):
                yield f"{key}:"
                indent = "  " if isinstance(part, dict) else ""
                yield from (f"{indent}{line}" for line in _yaml(part))
            else:
                yield f"{key}: {_scalar(part)}"
    else:
        for part in value:
            first, *rest = _yaml(part) if _is_block(part) else [_scalar(part)]
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)


def _is_block(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
