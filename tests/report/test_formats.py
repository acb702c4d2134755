"""The reports that other tools read, each read by a parser or schema that others maintain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import synthetic_audits
from conftest import AUDITS
from hostile_names import NAMES
from huggingface_hub import ModelCard
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from markdown_it.token import Token

from auditor.printable import one_line
from auditor.protocols.events import ReportsWritten, RunFinished
from auditor.registry import load_registry
from auditor.report import ReportSource, write_reports
from auditor.results import AuditResult, GateResult, Location, to_json

SCHEMA = Path(__file__).parent / "schemas" / "sarif-2.1.0.json"
FORMATS = ("markdown", "junit", "sarif", "model-card")
FILES = ("report.md", "junit.xml", "audit.sarif", "model-card.md")
#: What the summary marks up itself.
OWN_HTML = re.compile(r"<!-- -->|</?(details|summary|sub)>")


@pytest.fixture(scope="session")
def formatted(
    tmp_path_factory: pytest.TempPathFactory, source: Callable[[str], ReportSource]
) -> Callable[[str], Path]:
    """The directory of a synthetic audit with all of these reports in it."""
    registry, made = load_registry(), dict[str, Path]()

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            (made[name] / "audit.json").write_bytes(source(name).raw)
            files = write_reports(made[name], FORMATS, registry.reports)
            assert sorted(file.name for file in files) == sorted(FILES)
        return made[name]

    return get


def written(result: AuditResult, directory: Path, name: str) -> str:
    """One format of a result."""
    (directory / "audit.json").write_text(to_json(result), encoding="utf-8")
    (file,) = write_reports(directory, [name], load_registry().reports)
    return file.read_text(encoding="utf-8")


# Markdown


def parse(text: str) -> list[Token]:
    """As GitHub reads it, links that are not marked up as such included."""
    parser = MarkdownIt("gfm-like")
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False})  # a name such as models.py is none there
    return parser.parse(text)


def inline(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield from token.children or ()


def shown(token: Token) -> str:
    """What a reader sees of an inline token."""
    parts = (one for one in token.children or () if one.type != "html_inline")
    return "".join(" " if one.type == "softbreak" else one.content for one in parts)


def tables(text: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    for token in (tokens := iter(parse(text))):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(shown(next(tokens)))
    return found


@pytest.mark.parametrize("name", AUDITS)
@pytest.mark.parametrize("file", ["report.md", "model-card.md"])
def test_no_text_of_others_is_markup(
    name: str, file: str, formatted: Callable[[str], Path]
) -> None:
    text = (formatted(name) / file).read_text(encoding="utf-8")
    tokens = parse(text.split("\n---\n", 1)[-1])
    kinds = {one.type for one in inline(tokens)}
    assert not kinds & {"link_open", "image", "s_open"}
    html = [one.content for one in (*tokens, *inline(tokens)) if one.type.startswith("html_")]
    assert [one for one in html if OWN_HTML.sub("", one).strip(" \n0123456789notes")] == []
    plain = [one.content for one in inline(tokens) if one.type == "text"]
    assert [one for one in plain if re.search(r"(^|\W)@\w|#\d|www\.", one)] == []


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name: str) -> None:
    from auditor_plugins.reports.markup import code, table, text

    (_, paragraph, _) = parse(f"a {text(name)} z")
    assert shown(paragraph).split() == f"a {one_line(name)} z".split()
    assert {one.type for one in paragraph.children or ()} <= {"text", "text_special", "html_inline"}
    listed = parse(f"* {text(name)} z")
    assert [one.type for one in listed if one.type.endswith("_open")] == [
        "bullet_list_open", "list_item_open", "paragraph_open",
    ]  # fmt: skip
    (row,) = tables("\n".join(table(["name"], [[code(name)]])))[0][1:]
    assert row[0].split() == one_line(name).split()


@pytest.mark.parametrize("name", AUDITS)
def test_the_summary_has_every_accuracy(
    name: str, formatted: Callable[[str], Path], source: Callable[[str], ReportSource]
) -> None:
    result = source(name).result
    text = (formatted(name) / "report.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    accuracies = tables(text)[0]
    assert len({len(row) for row in accuracies}) == 1
    cells = {cell for row in accuracies[1:] for cell in row[1:]}
    wanted = [threat.robust for model in result.models for threat in model.threats]
    for one in (*wanted, *(model.clean for model in result.models)):
        if one is not None and 0.0005 < one.accuracy < 0.9995:
            low, high = one.ci95
            number = f"{100 * one.correct / one.total:.1f} % ({100 * low:.1f}–{100 * high:.1f} %)"
            assert any(cell.startswith(number) for cell in cells), number
    for model in result.models:
        assert f"gradient masking **{model.masking.verdict}**" in text
    assert len(text) < 65_536, "GitHub cuts the body of a comment there"


def test_the_fewer_of_models_and_threats_are_columns(formatted: Callable[[str], Path]) -> None:
    heads = {}
    for name in ("small", "many"):
        text = (formatted(name) / "report.md").read_text(encoding="utf-8")
        heads[name] = tables(text)[0][0]
    assert heads["small"] == ["accuracy under", "plain"]
    many = synthetic_audits.many()
    fewer = min(len(many.models), 1 + len({t.epsilon for t in many.models[0].threats}))
    assert len(heads["many"]) == 1 + fewer


# JUnit


@pytest.mark.parametrize("name", AUDITS)
def test_every_gate_and_threat_is_a_test_case(
    name: str, formatted: Callable[[str], Path], source: Callable[[str], ReportSource]
) -> None:
    result = source(name).result
    suites = JUnitXml.fromfile(str(formatted(name) / "junit.xml"))
    said = suites.tests, suites.failures, suites.errors, suites.skipped
    suites.update_statistics()  # the parser's own count
    assert said == (suites.tests, suites.failures, suites.errors, suites.skipped)
    threats = sum(len(model.threats) for model in result.models)
    assert suites.tests == len(result.gates) + threats
    gates = next(suite for suite in suites if suite.name == "gates")
    for gate, case in zip(result.gates, gates, strict=True):
        kinds = {True: [], False: [Failure], None: [Error]}[gate.holds]
        assert [type(one) for one in case.result] == kinds
        assert [one.message for one in case.result] == [one_line(gate.reason) for _ in kinds]
        assert case.name.startswith(f"{gate.metric} {gate.limit}")


def test_a_threat_is_judged_by_its_gates_alone(tmp_path: Path) -> None:
    """Without one it is skipped: what nobody asked for is not passed."""
    audit = synthetic_audits.large()
    first, second = audit.models[0], audit.models[1]
    empty = replace(second.threats[1], robust=None)
    second = replace(second, threats=(second.threats[0], empty, second.threats[2]))

    def gate(holds: bool | None, model: str, threat: int) -> GateResult:
        size = first.threats[threat].epsilon
        return GateResult("robust_accuracy", "at least 0.4", 0.1, holds, model, "linf", size, "So.")

    gates = gate(True, first.name, 0), gate(False, first.name, 1), gate(None, second.name, 0)
    audit = replace(audit, models=(first, second), gates=gates)
    text = written(audit, tmp_path, "junit")
    cases = [case for suite in JUnitXml.fromstring(text.encode()) for case in suite][len(gates) :]
    kinds = [[type(one) for one in case.result] for case in cases]
    assert kinds == [[], [Failure], [Skipped], [Error], [Error], [Skipped]]
    assert [case.name for case in cases[:3]] == [
        f"L∞, ε = {e}" for e in ("2/255", "4/255", "8/255")
    ]
    seconds = sum(attack.seconds for attack in first.threats[0].attacks)
    assert cases[0].time == pytest.approx(seconds, abs=1e-3)
    assert cases[2].result[0].message.startswith("No requirement was set; the robust accuracy is")


def waived() -> AuditResult:
    """An audit whose only gate is broken, and does not count."""
    audit = synthetic_audits.small()
    gate = GateResult(
        "robust_accuracy", "at least 0.9", 0.4, False, "plain", "linf", reason="It is."
    )
    gate = replace(gate, until="2027-03-31", waiver="the camera is replaced", waived=True)
    return replace(audit, verdict="pass", gates=(gate,))


def test_a_waiver_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    cases = [case for suite in JUnitXml.fromstring(written(waived(), tmp_path, "junit").encode())
             for case in suite]  # fmt: skip
    assert [type(one) for case in cases for one in case.result] == [Skipped, Skipped]
    assert cases[0].result[0].message == "It is."
    assert cases[1].result[0].message.startswith("Its gate is waived; the robust accuracy is")
    written(waived(), tmp_path, "sarif")
    (told,) = sarif_of(tmp_path)["results"]
    assert (told["ruleId"], told["level"]) == ("gate-broken", "note")
    assert told["suppressions"] == [{"kind": "external", "justification": "the camera is replaced"}]
    assert tables(written(waived(), tmp_path, "markdown"))[1][1][2] == "⏸️ waived"


# SARIF


def sarif_of(directory: Path) -> dict[str, Any]:
    document = json.loads((directory / "audit.sarif").read_bytes())
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes())).validate(document)
    (run,) = document["runs"]
    return run  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", AUDITS)
def test_findings_are_results(
    name: str, formatted: Callable[[str], Path], source: Callable[[str], ReportSource]
) -> None:
    result, run = source(name).result, sarif_of(formatted(name))
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    levels = {"high": "error", "medium": "warning", "low": "note", "info": "note"}
    wanted = [
        (one.code, levels[one.severity], one.fingerprint)
        for model in result.models
        for one in model.findings
    ]
    told = [
        (one["ruleId"], one["level"], one["partialFingerprints"]["auditor/v1"])
        for one in run["results"]
    ]
    assert [one for one in told if not one[0].startswith(("gate-", "masking-"))] == wanted
    broken = [gate for gate in result.gates if gate.holds is False]
    assert sum(one[0] == "gate-broken" for one in told) == len(broken)
    for one in run["results"]:
        assert rules[one["ruleIndex"]] == one["ruleId"]
        place = one["locations"][0]["physicalLocation"]
        assert not re.match(r"/|\w+:|.*\.\./", place["artifactLocation"]["uri"])
        assert place["region"]["startLine"] >= 1
    assert run["invocations"][0]["exitCode"] == result.exit_status


def test_culprits_are_at_their_lines(tmp_path: Path) -> None:
    audit = synthetic_audits.large()
    model = audit.models[0]
    culprit = Location("nets of mine/models.py", 42)
    model = replace(
        model,
        location=Location("nets of mine/models.py", 7),
        masking=replace(model.masking, location=culprit),
        findings=(replace(model.findings[0], location=culprit), *model.findings[1:]),
    )
    about = replace(audit.provenance, configuration="audits/audit.toml")
    audit = replace(audit, models=(model,), gates=audit.gates[1:2], provenance=about)
    written(audit, tmp_path, "sarif")
    places = []
    for one in sarif_of(tmp_path)["results"]:
        place = one["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] == "SRCROOT"
        file = unquote(place["artifactLocation"]["uri"])
        places.append((one["ruleId"].split("-")[0], f"{file}:{place['region']['startLine']}"))
    nets = "nets of mine/models.py"
    assert places[:3] == [("gate", "audits/audit.toml:1"), ("masking", f"{nets}:42"),
                          ("code", f"{nets}:42")]  # fmt: skip
    assert {where for _, where in places[3:]} == {f"{nets}:7"}, "the model's factory"


def test_a_fingerprint_is_that_of_the_last_run(
    formatted: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of what has no finding too, when the numbers in its message have changed."""
    audit = synthetic_audits.large()
    later = replace(audit, gates=tuple(replace(one, value=0.2, reason="x") for one in audit.gates))
    written(later, tmp_path, "sarif")
    before, after = sarif_of(formatted("large"))["results"], sarif_of(tmp_path)["results"]
    assert before != after
    prints = [[one["partialFingerprints"] for one in run] for run in (before, after)]
    assert prints[0] == prints[1]


# The model card


@pytest.mark.parametrize("name", AUDITS)
def test_the_hub_reads_every_number(
    name: str, formatted: Callable[[str], Path], source: Callable[[str], ReportSource]
) -> None:
    result = source(name).result
    card = ModelCard((formatted(name) / "model-card.md").read_text(encoding="utf-8"))
    index = card.data.to_dict()["model-index"] if len(result.models) == 1 else None
    entries = index or yaml_index(formatted(name))
    assert [entry["name"] for entry in entries] == [one_line(one.name) for one in result.models]
    for entry, model in zip(entries, result.models, strict=True):
        (evaluation,) = entry["results"]
        assert evaluation["task"]["type"] == "image-classification"
        measured = [model.clean, *(one.robust for one in model.threats if one.robust is not None)]
        assert [one["value"] for one in evaluation["metrics"]] == [one.accuracy for one in measured]
        sizes = [one["args"].get("epsilon") for one in evaluation["metrics"]]
        assert sizes[1:] == [one.epsilon for one in model.threats if one.robust is not None]
    assert "## Adversarial robustness" in card.text


def yaml_index(directory: Path) -> list[dict[str, Any]]:
    """Of a card of several models, which the Hub's reader leaves as it is."""
    import yaml

    front = (directory / "model-card.md").read_text(encoding="utf-8").split("\n---\n")[0]
    index: list[dict[str, Any]] = yaml.safe_load(front.removeprefix("---\n"))["model-index"]
    return index


def test_the_hub_reads_results_as_its_own(formatted: Callable[[str], Path]) -> None:
    card = ModelCard((formatted("small") / "model-card.md").read_text(encoding="utf-8"))
    clean, robust = card.data.eval_results or ()
    assert (clean.metric_name, clean.metric_value) == ("Accuracy", 0.92)
    assert robust.metric_name == "Robust accuracy (L∞, ε = 8/255)"
    assert robust.metric_args["images"] == 500
    assert robust.dataset_args["sha256"] == "78" * 32


# GitHub Actions

#: As the runner takes one apart.
COMMAND = re.compile(r"::(error|warning|notice) file=([^,]+),line=(\d+),title=([^:]*)::(.*)")


def unescaped(text: str) -> str:
    for code, letter in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, letter)
    return text


@pytest.mark.parametrize("name", ["large", "hostile"])
def test_a_job_is_told(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: Callable[[str], ReportSource],
) -> None:
    result, sink = source(name).result, load_registry().sinks["github"]
    page = tmp_path / "summary.md"
    page.write_text("what another step wrote\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    events = RunFinished(tmp_path, result), ReportsWritten(tmp_path, ())

    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    for event in events:
        sink.receive(event)
    assert capsys.readouterr() == ("", "")
    assert page.read_text() == "what another step wrote\n"

    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for event in events:
        sink.receive(event)
    out, err = capsys.readouterr()
    assert out == "", "programs read it"
    commands = [COMMAND.fullmatch(line) for line in err.splitlines()]
    assert all(commands)
    found = [one.groups() for one in commands if one]
    kinds = [kind for kind, *_ in found]
    assert kinds == sorted(kinds, key=["error", "warning", "notice"].index)
    assert kinds[0] == "error"
    messages = [unescaped(message) for *_, message in found]
    for model in result.models:
        said = [one_line(f"{model.name}: {one.summary}") for one in model.findings
                if one.severity != "info"]  # fmt: skip
        assert sorted(one for one in messages if one in said) == sorted(said)
    assert page.read_text(encoding="utf-8").startswith("what another step wrote\n## ❌ Robustness")
