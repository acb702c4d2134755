"""The back of the report: methods, threat models, and what reproduces the audit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.report import wording
from auditor.report.wording import MASKINGS, PLUGINS, Badge, plural, shorten
from auditor.results import AuditResult, ModelResult, PluginRecord, Provenance, SelftestRecord

_DRAW = {
    "all": "",
    "uniform": "; a uniform draw",
    "balanced": "; as many of every class as it has",
}

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Threat:
    """A norm with its epsilons and the reason for them."""

    norm: str
    epsilons: str
    meaning: str
    scale: str
    rationale: str


@dataclass(frozen=True)
class Method:
    """An attack as it was configured."""

    label: str
    name: str
    parameters: Facts
    surrogates: str
    objectives: str
    #: Where these parameters applied; empty where the attack had no others anywhere.
    scope: str


@dataclass(frozen=True)
class PluginRow:
    """A plugin that was loaded, blocked or found broken."""

    name: str
    version: str
    origin: str
    sha256: str
    badge: Badge
    detail: str


@dataclass(frozen=True)
class SelftestView:
    """How the verdict did on models whose truth is known."""

    sentence: str
    #: Name, verdicts that would be right, the verdict, whether it is one of them.
    rows: tuple[tuple[str, str, Badge, Badge], ...]


@dataclass(frozen=True)
class Background:
    """Everything behind the results."""

    methods: tuple[Method, ...]
    threats: tuple[Threat, ...]
    run: Facts
    command: str
    data: Facts
    class_names: tuple[str, ...]
    versions: Facts
    hashes: Facts
    plugins: tuple[PluginRow, ...]
    selftest: SelftestView | None


def background(result: AuditResult, sha256: str) -> Background:
    """The back of the report on `result`, whose audit.json has this SHA-256."""
    provenance = result.provenance
    return Background(
        methods=tuple(_methods(result.models)),
        threats=threats_in_words(result.models),
        run=tuple(_run(result)),
        command=provenance.command,
        data=tuple(_data(provenance)),
        class_names=provenance.data.class_names,
        versions=tuple(provenance.versions.items()),
        hashes=(("audit.json", sha256), *provenance.hashes.items()),
        plugins=tuple(
            PluginRow(p.name, p.version, p.origin, p.sha256, PLUGINS[p.status], _told(p))
            for p in provenance.plugins
        ),
        selftest=_selftest(result.selftest) if result.selftest else None,
    )


def _told(plugin: PluginRecord) -> str:
    """What is wrong with a plugin, and what to do about it."""
    parts = [plugin.detail, f"remedy: {plugin.remedy}" if plugin.remedy else ""]
    return " ".join(wording.sentence(part) for part in parts if part)


def _selftest(record: SelftestRecord) -> SelftestView:
    """The self-test, summed up and model by model."""
    masked = record.hits + record.misses
    day = wording.moment(record.date)
    blamed = plural(record.false_alarms, "false alarm") if record.false_alarms else "no false alarm"
    return SelftestView(
        sentence=f"On {day.day} {day:%B %Y} auditor {record.version} found {record.hits:,} of "
        f"{plural(masked, 'masked reference model')} and raised {blamed} on honest ones.",
        rows=tuple(
            (
                row.name,
                " or ".join(MASKINGS[verdict].word for verdict in row.expected),
                MASKINGS[row.verdict],
                wording.AS_EXPECTED[row.verdict in row.expected],
            )
            for row in record.rows
        ),
    )


def threats_in_words(models: Sequence[ModelResult]) -> tuple[Threat, ...]:
    """The threats that share a norm and a rationale, together."""
    groups: dict[tuple[str, str], dict[str, float]] = {}
    meanings: dict[str, str] = {}
    for model in models:
        for threat in model.threats:
            meanings[threat.norm] = threat.norm_meaning
            key = (threat.norm, threat.rationale.strip())
            groups.setdefault(key, {})[threat.epsilon_text] = threat.epsilon
    return tuple(
        Threat(
            norm=wording.norm(name),
            epsilons=", ".join(epsilons),
            meaning=wording.norm_meaning(name, meanings[name]),
            scale=_scale(name, epsilons),
            rationale=rationale,
        )
        for (name, rationale), epsilons in groups.items()
    )


def _scale(norm: str, epsilons: dict[str, float]) -> str:
    """What the epsilons come to, for readers who think in grey levels."""
    if norm == "linf":
        return "; ".join(
            f"ε = {text} is {wording.number(round(255 * value, 3))} of 255 grey levels"
            for text, value in epsilons.items()
        )
    exact = [(text, value) for text, value in epsilons.items() if text != f"{value:g}"]
    return "; ".join(f"ε = {text} is {value:.4g}" for text, value in exact)


def _methods(models: Sequence[ModelResult]) -> Iterator[Method]:
    """Every attack that was configured, once per set of parameters."""
    used: dict[tuple[str, str, str], list[tuple[str, str, str, str]]] = {}
    parameters: dict[tuple[str, str, str], Facts] = {}
    for model in models:
        for threat in model.threats:
            where = f"{wording.norm(threat.norm)} {threat.epsilon_text}"
            for attack in threat.attacks:
                text = json.dumps(attack.parameters, sort_keys=True, default=str)
                key = (attack.label, attack.name, text)
                parameters[key] = wording.parameters_text(attack.parameters)
                row = (model.name, where, attack.surrogate, attack.objective)
                used.setdefault(key, []).append(row)
    labels = [label for label, _, _ in used]
    for key, rows in used.items():
        label, name, _ = key
        models_, threats, surrogates, objectives = (
            ", ".join(dict.fromkeys(text for text in column if text))
            for column in zip(*rows, strict=True)
        )
        several = labels.count(label) > 1
        scope = f"{shorten(threats, 120)} on {shorten(models_, 120)}" if several else ""
        shown = "" if name == label else name
        yield Method(label, shown, parameters[key], surrogates, objectives, scope)


def _run(result: AuditResult) -> Iterator[tuple[str, str]]:
    """How the audit was run."""
    provenance = result.provenance
    yield "Profile", result.profile
    yield "Status", f"{result.status}, exit status {result.exit_status}"
    yield "Started", wording.moment(provenance.started).strftime("%Y-%m-%d %H:%M:%S UTC")
    yield "Duration", wording.duration(provenance.seconds)
    yield "Forward passes of single images", f"{provenance.forwards:,}"
    yield "Backward passes of single images", f"{provenance.backwards:,}"
    yield "Seed", str(provenance.seed)
    yield "Device", provenance.device
    yield "Threads", str(provenance.threads)
    yield "Batch size", f"{provenance.batch_size:,}"
    yield "Platform", provenance.platform
    yield "auditor", provenance.auditor
    yield "Python", provenance.python
    yield "PyTorch", provenance.torch


def _data(provenance: Provenance) -> Iterator[tuple[str, str]]:
    """The images under audit."""
    data = provenance.data
    channels, height, width = data.shape
    yield "Adapter", data.adapter
    yield "Source", data.source
    yield "SHA-256", data.sha256
    yield "Images", f"{data.audited:,} audited of {data.available:,} available{_DRAW[data.draw]}"
    yield "Shape", f"{plural(channels, 'channel')}, {height} × {width} pixels"
    yield "Classes", f"{len(data.class_names):,}"
    for note in data.notes:
        yield "Note", note
