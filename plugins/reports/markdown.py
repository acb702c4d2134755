"""A summary in Markdown, for a pull request or a job's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from auditor.api import (
    Accuracy,
    AuditResult,
    Finding,
    GateResult,
    Location,
    ModelResult,
    ThreatResult,
    interval,
    percent,
    reporter,
    threat_text,
    write_atomically,
)

from .judged import gate_text, value_text, verdict_text
from .markup import code, table, text

_SIGNS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️"}
_MASKING_SIGNS = {"none": "✅", "possible": "⚠️", "suspected": "❌", "confirmed": "❌"}
_GATES = {True: "✅ holds", False: "❌ broken", None: "⚠️ not judged"}
_WAIVED = "⏸️ waived"
_SEVERITIES = ("high", "medium", "low", "info")
#: Of findings that are shown at once; the others fold.
_LOUD = ("high", "medium")


@reporter(name="markdown")
def markdown(result: AuditResult, directory: Path) -> Path:
    """report.md: a short summary for pull requests and job pages, in GitHub's Markdown."""
    path = directory / "report.md"
    write_atomically(path, summary(result).encode())
    return path


def summary(result: AuditResult) -> str:
    """The whole file."""
    sign = _SIGNS.get(result.verdict, "ℹ️")
    lines = [f"## {sign} Robustness audit: {verdict_text(result)}", ""]
    lines += [f"**{text(result.title)}**", ""]
    lines += [*(f"* {text(reason)}" for reason in result.reasons), ""]
    lines += accuracies(result.models)
    lines += ["### Can these numbers be believed?", ""]
    lines += [*map(_masking, result.models), ""]
    if result.gates:
        lines += ["### Gates", "", *_gates(result)]
    lines += _findings(result)
    return "\n".join([*lines, *_footer(result), ""])


def accuracies(models: Sequence[ModelResult]) -> list[str]:
    """A table of robust accuracies: models and threats, whichever are fewer as columns."""
    threats = {_key(one): threat_text(one) for model in models for one in model.threats}
    cells = {
        (model.name, key): _accuracy(one.robust)
        for model in models
        for key, one in ((_key(one), one) for one in model.threats)
    }
    cells |= {(model.name, ("", 0.0)): _accuracy(model.clean) for model in models}
    threats = {("", 0.0): "no attack", **threats}
    names = [model.name for model in models]
    if len(names) <= len(threats):
        rows = [
            [text(said), *(cells.get((name, key), "–") for name in names)]
            for key, said in threats.items()
        ]
        head = ["accuracy under", *map(code, names)]
    else:
        rows = [[code(name), *(cells.get((name, key), "–") for key in threats)] for name in names]
        head = ["accuracy under", *map(text, threats.values())]
    made = table(head, rows, [False, *[True] * (len(head) - 1)])
    return [*made, "In brackets: exact 95 % confidence interval.", ""]


def _key(threat: ThreatResult) -> tuple[str, float]:
    return threat.norm, threat.epsilon


def _accuracy(found: Accuracy | None) -> str:
    if found is None:
        return "not known"
    said = f"{percent(found)} ({interval(found.ci95)})"
    if found.weighted is not None:
        said += f"; of the whole set {percent(found.weighted.accuracy)}"
    return text(said)


def _masking(model: ModelResult) -> str:
    masking = model.masking
    sign = _MASKING_SIGNS.get(masking.verdict, "⚠️")
    where = f" at {_line(masking.location)}" if masking.location else ""
    kind = f" ({masking.kind})" if masking.kind else ""
    said = f"* {sign} {code(model.name)}: gradient masking **{masking.verdict}**{kind}{where}. "
    return said + text(masking.summary)


def _line(place: Location) -> str:
    return code(f"{place.file}:{place.line}")


def _gates(result: AuditResult) -> Iterator[str]:
    rows = [
        [text(gate_text(result, one)), text(value_text(one)), _state(one)] for one in result.gates
    ]
    yield from table(["gate", "measured", "verdict"], rows, [False, True])


def _state(gate: GateResult) -> str:
    return _WAIVED if gate.waived else _GATES[gate.holds]


def _findings(result: AuditResult) -> Iterator[str]:
    """Those to act on, then the others folded; one that several models have is told once."""
    found: dict[tuple[str, str], tuple[Finding, list[str]]] = {}
    for model in result.models:
        for one in model.findings:
            found.setdefault((one.code, one.summary), (one, []))[1].append(model.name)
    ordered = sorted(found.values(), key=lambda one: _SEVERITIES.index(one[0].severity))
    loud = [_finding(*one) for one in ordered if one[0].severity in _LOUD]
    quiet = [_finding(*one) for one in ordered if one[0].severity not in _LOUD]
    if loud:
        yield from ("### Findings", "", *loud, "")
    if quiet:
        more = f"{len(quiet)} {'note' if len(quiet) == 1 else 'notes'}"
        yield from (f"<details><summary>{more}</summary>", "", *quiet, "", "</details>", "")


def _finding(finding: Finding, models: Sequence[str]) -> str:
    where = f" at {_line(finding.location)}" if finding.location else ""
    names = ", ".join(map(code, models))
    return (
        f"* **{finding.severity}** · {text(finding.title)} ({names}){where}. "
        f"{text(finding.summary)} *To do:* {text(finding.remedy)}"
    )


def _footer(result: AuditResult) -> Iterator[str]:
    about = result.provenance
    images = (
        f"{about.data.audited:,} of {about.data.available:,} images of {text(about.data.source)}"
    )
    yield (
        f"<sub>auditor {text(about.auditor)} · profile {text(result.profile)} · {images} · "
        f"seed {about.seed} · {text(about.started[:10])} · {code(about.command)}</sub>"
    )
