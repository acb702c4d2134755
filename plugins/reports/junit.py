"""JUnit XML: what servers of continuous integration show as tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from auditor.api import (
    AuditResult,
    GateResult,
    ModelResult,
    ThreatResult,
    interval,
    one_line,
    percent,
    reporter,
    threat_text,
    write_atomically,
)

from .judged import concerns, gate_text, value_text

#: What is counted in a suite, and what marks a case as one.
_OUTCOMES = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_NBSP = "\N{NO-BREAK SPACE}"


@reporter(name="junit")
def junit(result: AuditResult, directory: Path) -> Path:
    """junit.xml: a test case for every gate and threat, for servers of continuous integration."""
    suites = [_suite(result, "gates", [_gate(result, gate) for gate in result.gates])]
    for model in result.models:
        cases = [_threat(result, model, threat) for threat in model.threats]
        suites.append(_suite(result, model.name, cases))
    root = ET.Element("testsuites", {"name": _text(result.title), **_totals(suites)})
    root.extend(suites)
    ET.indent(root)
    path = directory / "junit.xml"
    content = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    write_atomically(path, content + b"\n")
    return path


def _suite(result: AuditResult, name: str, cases: list[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": _text(name)})
    suite.extend(cases)
    for plural, tag in _OUTCOMES.items():
        suite.attrib[plural] = str(sum(case.find(tag) is not None for case in cases))
    suite.attrib |= {
        "tests": str(len(cases)),
        "time": _seconds(sum(float(case.attrib["time"]) for case in cases)),
    }
    with contextlib.suppress(ValueError):  # a result that was written by hand
        started = datetime.fromisoformat(result.provenance.started)
        suite.attrib["timestamp"] = started.replace(tzinfo=None).isoformat(timespec="seconds")
    return suite


def _totals(suites: list[ET.Element]) -> dict[str, str]:
    counted = {
        name: str(sum(int(suite.attrib[name]) for suite in suites))
        for name in ("tests", *_OUTCOMES)
    }
    return {**counted, "time": _seconds(sum(float(suite.attrib["time"]) for suite in suites))}


def _gate(result: AuditResult, gate: GateResult) -> ET.Element:
    case = _case("gates", gate_text(result, gate), 0.0)
    reason = gate.reason or gate_text(result, gate)
    if gate.waived:
        _outcome(case, "skipped", reason, "waived")
    elif gate.holds is False:
        _outcome(case, "failure", reason, "gate broken")
    elif gate.holds is None:
        _outcome(case, "error", reason, "gate not judged")
    _output(case, [f"measured: {value_text(gate)}", reason])
    return case


def _threat(result: AuditResult, model: ModelResult, threat: ThreatResult) -> ET.Element:
    """Judged by the gates on its accuracy; without one nothing was asked, and so none was passed.

    What could not be measured is an error, as is what a gate could not judge: servers let a build
    with skipped tests pass.
    """
    seconds = sum(attack.seconds for attack in threat.attacks)
    case = _case(f"threats.{model.name}", threat_text(threat), seconds)
    asked = [gate for gate in result.gates if concerns(gate, model, threat)]
    gates = [gate for gate in asked if not gate.waived]
    broken = [gate.reason for gate in gates if gate.holds is False]
    open_ = [gate.reason for gate in gates if gate.holds is None]
    if broken:
        _outcome(case, "failure", " ".join(broken), "gate broken")
    elif threat.robust is None:
        why = " ".join(_unmeasured(threat)) or "No attack has a result."
        _outcome(case, "error", why, "not measured")
    elif open_:
        _outcome(case, "error", " ".join(open_), "gate not judged")
    elif not gates:
        why = "Its gate is waived" if asked else "No requirement was set"
        said = f"{why}; the robust accuracy is {percent(threat.robust)}."
        _outcome(case, "skipped", said, "no requirement")
    _output(case, _measured(model, threat))
    return case


def _unmeasured(threat: ThreatResult) -> Iterator[str]:
    for attack in threat.attacks:
        if attack.status != "done":
            yield f"{attack.label}: {attack.reason}"


def _measured(model: ModelResult, threat: ThreatResult) -> Iterator[str]:
    yield f"gradient masking: {model.masking.verdict}"
    if threat.robust is not None:
        one = threat.robust
        yield (
            f"robust accuracy: {percent(one)} ({one.correct:,} of {one.total:,} images; 95 % "
            f"interval {interval(one.ci95)})"
        )
    for attack in threat.attacks:
        alone = percent(attack.robust) if attack.robust else f"{attack.status}, {attack.reason}"
        yield f"{attack.label} alone: {alone}"


def _case(suite: str, name: str, seconds: float) -> ET.Element:
    about = {"classname": _text(f"auditor.{suite}"), "name": _text(name)}
    return ET.Element("testcase", {**about, "time": _seconds(seconds)})


def _outcome(case: ET.Element, tag: str, message: str, kind: str) -> None:
    said = {"message": _text(message)}
    if tag == "skipped":  # which has no type in any dialect
        ET.SubElement(case, tag, said)
    else:
        ET.SubElement(case, tag, {**said, "type": kind}).text = _text(message)


def _output(case: ET.Element, lines: Iterator[str] | list[str]) -> None:
    ET.SubElement(case, "system-out").text = "\n".join(map(_text, lines))


def _text(words: str) -> str:
    return one_line(words).replace(_NBSP, " ")


def _seconds(time: float) -> str:
    return f"{time:.3f}"
