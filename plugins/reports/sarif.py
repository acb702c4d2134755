"""SARIF 2.1.0: what code hosts show at the lines of a model's code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from auditor.api import AuditResult, one_line, reporter, write_atomically

from .judged import Alert, alerts
from .markup import text

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_ROOT = "SRCROOT"
#: As code hosts rank what concerns security: from 7 on "high", from 4 on "medium".
_SEVERITIES = {"error": "8.0", "warning": "5.0", "note": "2.0"}
_RANKS = ("note", "warning", "error")


@reporter(name="sarif")
def sarif(result: AuditResult, directory: Path) -> Path:
    """audit.sarif: broken gates, masking and findings at lines of code, in SARIF 2.1.0."""
    path = directory / "audit.sarif"
    content = json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [_run(result)]}, indent=2)
    write_atomically(path, content.encode() + b"\n")
    return path


def _run(result: AuditResult) -> dict[str, Any]:
    found = list(alerts(result))
    rules = _rules(found)
    places = {rule["id"]: place for place, rule in enumerate(rules)}
    about = result.provenance
    return {
        "tool": {
            "driver": {
                "name": "auditor",
                "version": about.auditor,
                "shortDescription": {
                    "text": "Audits how robust an image classifier is, and whether that number "
                    "can be believed."
                },
                "rules": rules,
            }
        },
        "automationDetails": {"id": f"auditor/{quote(one_line(result.title), safe=' ')}/"},
        "invocations": [
            {
                "executionSuccessful": result.status == "complete",
                "exitCode": result.exit_status,
                "commandLine": one_line(about.command),
            }
        ],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {
            _ROOT: {"description": {"text": "The root of the repository that was audited."}}
        },
        "results": [_result(alert, places[alert.rule]) for alert in found],
        "properties": {"verdict": result.verdict, "profile": one_line(result.profile)},
    }


def _rules(found: Iterable[Alert]) -> list[dict[str, Any]]:
    """One for each kind of alert, as loud as the loudest."""
    rules: dict[str, Alert] = {}
    levels: dict[str, str] = {}
    for alert in found:
        rules.setdefault(alert.rule, alert)
        levels[alert.rule] = max(alert.level, levels.get(alert.rule, "note"), key=_RANKS.index)
    return [_rule(alert, levels[name]) for name, alert in rules.items()]


def _rule(alert: Alert, level: str) -> dict[str, Any]:
    sources = [*alert.references]
    plain = [one_line(alert.remedy), *(f"See: {one_line(one)}" for one in sources)]
    marked = [text(alert.remedy), *(f"* {text(one)}" for one in sources)]
    return {
        "id": alert.rule,
        "shortDescription": {"text": one_line(alert.title)},
        "fullDescription": {"text": one_line(alert.title)},
        "help": {"text": "\n".join(plain), "markdown": "\n\n".join(marked)},
        "defaultConfiguration": {"level": level},
        "properties": {
            "tags": ["security", "adversarial-robustness"],
            "security-severity": _SEVERITIES[level],
        },
    }


def _result(alert: Alert, rule: int) -> dict[str, Any]:
    finding = alert.finding
    made: dict[str, Any] = {
        "ruleId": alert.rule,
        "ruleIndex": rule,
        "level": alert.level,
        "message": {"text": f"{one_line(alert.message)} To do: {one_line(alert.remedy)}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(alert.place.file), "uriBaseId": _ROOT},
                    "region": {"startLine": alert.place.line},
                }
            }
        ],
        "partialFingerprints": {"auditor/v1": _fingerprint(alert)},
    }
    if alert.model:
        model = {"name": one_line(alert.model), "kind": "object"}
        made["locations"][0]["logicalLocations"] = [model]
    if alert.waiver:
        made["suppressions"] = [{"kind": "external", "justification": one_line(alert.waiver)}]
    if finding is not None:
        made["properties"] = {
            "severity": finding.severity,
            "confidence": finding.confidence,
            "evidence": [one_line(one) for one in finding.evidence],
        }
    return made


def _fingerprint(alert: Alert) -> str:
    """That of the finding; of others the hash of what they are known by."""
    if alert.finding is not None and alert.finding.fingerprint:
        return alert.finding.fingerprint
    known = f"{alert.rule} {alert.fingerprint}"
    return hashlib.sha256(known.encode("utf-8", "surrogatepass")).hexdigest()[:16]
