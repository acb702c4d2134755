"""Audits made of thin air: plausible in shape, measured by nobody."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import synthetic_masking
from PIL import Image
from synthetic_attacks import (
    accuracy,
    attack,
    autoattack,
    cascade,
    composite,
    fab,
    not_run,
    threat,
)

from auditor.results import (
    SCHEMA,
    AttackResult,
    AuditResult,
    DataRecord,
    FileRecord,
    Finding,
    GalleryItem,
    GateResult,
    Hidden,
    Masking,
    Measurement,
    ModelResult,
    PluginRecord,
    Power,
    Provenance,
    ThreatResult,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=http://example.org/x.png>",
    r"$\frac{x$ {{ 7*7 }} {% raw %} % _ ^ \input",
    "n" * 300,
    "שלום עולם \u202egnp.exe",
    "🦊 fox \x00\x1b[31m & \"quotes\" 'n' <b>",
)


def png(seed: int, level: float = 0.0) -> str:
    """A grey picture of 28 × 28 pixels: a blob, or noise around `level`."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28))
    blob = 255 * np.exp(-4 * (x**2 + y**2)) if level == 0 else 255 * level
    shape = blob + rng.choice((-40, 0, 40), (28, 28))
    buffer = io.BytesIO()
    Image.fromarray(shape.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def picture(index: int, label: str = "ankle boot", prediction: str = "sneaker") -> GalleryItem:
    """An adversarial example as three pictures of noise."""
    return GalleryItem(
        image=17 * index,
        norm="linf",
        epsilon_text="8/255",
        attack="apgd-ce",
        label=label,
        clean_prediction=label,
        clean_confidence=0.9987,
        adversarial_prediction=prediction,
        adversarial_confidence=0.613,
        distance=8 / 255,
        magnification=15.9,
        survives_8bit=index % 3 != 0,
        clean_png=png(index),
        perturbation_png=png(index + 100, 0.5),
        adversarial_png=png(index + 200),
    )


def finding(code: str, severity: str = "medium", text: str = "") -> Finding:
    """A finding whose evidence is invented."""
    return Finding(
        code=code,
        title=f"A synthetic finding called {code} {text}",
        severity=severity,  # type: ignore[arg-type]
        confidence="high",
        summary=f"26 of 49 images that withstood fell when the gradient was repaired. {text}",
        evidence=("gap of 11.2 points, lower bound 8.9", f"module layers.0, models.py:42 {text}"),
        remedy=f"Attack the repaired surrogate and believe the lower number. {text}",
        references=("arXiv:1802.00420", "arXiv:1902.06705, section 3"),
        fingerprint="0123456789ab",
    )


def model(name: str, threats: Sequence[ThreatResult], **fields: object) -> ModelResult:
    """A model without findings unless `fields` says otherwise."""
    plain = ModelResult(
        name=name,
        fingerprint="ab" * 32,
        parameters=421_642,
        outputs="logits",
        precision="float32",
        classes=10,
        clean=accuracy(460),
        threats=tuple(threats),
        masking=Masking(
            verdict="none",
            summary="No image withstood the gradient attacks only to fall to another attack.",
            gradient_attack_accuracy=0.392,
            corrected_accuracy=0.392,
            hidden=Hidden(0, 196, 0.0, 0.0),
            power=Power(196, 0.0152),
        ),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def masked(name: str, threats: Sequence[ThreatResult], text: str = "") -> ModelResult:
    """A model with something to say in every part of its chapter."""
    levels = ("info", "low", "medium", "high")
    return model(
        name,
        threats,
        masking=Masking(
            verdict="confirmed",
            summary="26 of 49 images that resisted the gradient attacks fell once torch.round was "
            f"bypassed; the robust accuracy is at most 39.2 %, not 78.4 %. {text}",
            kind="shattered",
            culprit=f"layers.0, models.py:42 (torch.round) {text}",
            gradient_attack_accuracy=0.784,
            corrected_accuracy=0.392,
            hidden=Hidden(26, 49, 26 / 49, 0.38),
            power=Power(49, 0.06),
            evidence=("zero-gradient", "unlisted-code"),
        ),
        measurements=(
            Measurement("zero_gradient_rate", 0.96, (0.93, 0.98), 460, f"Exact zeros. {text}"),
            Measurement("rank", 0.05, None, 460, "Against 19 directions.", "linf", 8 / 255),
        ),
        findings=tuple(
            finding("zero-gradient" if s == "high" else f"code-{s}", s, text) for s in levels
        ),
        gallery=tuple(picture(i) for i in range(12)),
    )


def provenance(classes: Sequence[str], plugins: Sequence[PluginRecord] = ()) -> Provenance:
    """Where nothing ever ran."""
    return Provenance(
        auditor="0.0", python="3.0", torch="0.0", platform="Nowhere", device="cpu", threads=4,
        batch_size=256, seed=0, started="2026-01-02T03:04:05Z", seconds=3723.4,
        command="auditor run audit.toml", forwards=98_765_432, backwards=87_654_321,
        versions={"numpy": "0.0", "scipy": "0.0"}, plugins=tuple(plugins),
        hashes={"configuration": "12" * 32, "data": "34" * 32, "model:first": "56" * 32},
        data=DataRecord("npz", "test-1000.npz", "78" * 32, 1000, 500, (1, 28, 28), tuple(classes)),
        files=(
            FileRecord("configuration", "audit.toml", "9a" * 32),
            FileRecord("weights", "weights/first.safetensors", "bc" * 32, "first"),
            FileRecord("code", "models.py", "de" * 32, "first"),
            FileRecord("data", "test-1000.npz", "f0" * 32),
        ),
    )  # fmt: skip


def audit(models: Sequence[ModelResult], **fields: object) -> AuditResult:
    """An audit that failed its only gate, unless `fields` says otherwise."""
    gate = GateResult(
        "robust_accuracy", "at least 0.4", 0.392, False, epsilon=8 / 255,
        reason="39.2 % is below 40.0 %.",
    )  # fmt: skip
    names = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker")
    plain = AuditResult(
        schema=SCHEMA,
        title="Synthetic classifier, not a measurement",
        profile="standard",
        status="complete",
        verdict="fail",
        exit_status=1,
        reasons=("Robust accuracy 39.2 % at L∞ 8/255 is below the gate of 40.0 %.",),
        not_tested=(
            "Targeted attacks with a chosen class.",
            "Changes other than additive ones, such as rotation.",
        ),
        reviewers=(),
        models=tuple(models),
        gates=(gate,),
        provenance=provenance((*names, "bag", "ankle boot")),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


LABELS = ("pgd-100", "apgd-ce", "apgd-dlr", "square")


def small() -> AuditResult:
    """One model, one epsilon."""
    alone = threat("8/255", 280, LABELS[:3])
    extra = fab(250, alone.epsilon), cascade(285)
    return audit([model("plain", [replace(alone, attacks=alone.attacks + extra)])])


def large() -> AuditResult:
    """Four models, three epsilons, five attacks and everything that can be said of them."""
    reason = "half a grey level survives the camera pipeline"

    def threats(shift: int) -> list[ThreatResult]:
        made = [
            threat(e, b - shift, LABELS, rationale=reason)
            for e, b in (("2/255", 180), ("4/255", 290), ("8/255", 400))
        ]
        made = [replace(t, attacks=t.attacks + composites(t)) for t in made]
        extra = (
            attack("bpda-pgd", 60, 3, 20, surrogate="repaired",
                   rejected={"outside the ball": 4, "not fooled on verification": 3},
                   nonfinite_gradients=12, zero_gradients=431),
            not_run("hop-skip-jump", "skipped", "The time budget of 30 minutes was spent."),
            not_run("spsa", "error", "RuntimeError: the model returned NaN for 3 images."),
        )  # fmt: skip
        return [replace(t, attacks=t.attacks + extra) for t in made]

    def composites(threat: ThreatResult) -> tuple[AttackResult, ...]:
        broken = threat.attacks[0].broken
        return fab(broken - 20, threat.epsilon), autoattack(broken + 3), cascade(broken + 5)

    plugins = (
        PluginRecord("pgd", "built in", "0.0", "9a" * 32, "loaded"),
        PluginRecord("mine", "my_attack.py", "0.1", "bc" * 32, "broken", "SyntaxError in line 3"),
    )
    names = ("baseline", "distilled", "quantised-4bit", "adversarially-trained")
    made = [masked(n, threats(30 * i)) for i, n in enumerate(names[:2])]
    made += [model(n, threats(60 + 30 * i)) for i, n in enumerate(names[2:])]
    doubtful = replace(made[2].masking, verdict="possible")
    made[2] = replace(made[2], masking=doubtful)
    return audit(
        made,
        reviewers=("First Reviewer", "Second Reviewer"),
        reasons=(
            "Robust accuracy of baseline 10.4 % at L∞ 8/255 is below the gate of 40.0 %.",
            "Masking of distilled is confirmed; the gate allows at most possible.",
        ),
        gates=(
            GateResult("robust_accuracy", "at least 0.4", 0.104, False, "baseline", "linf",
                       8 / 255, "10.4 % is below 40.0 %."),
            GateResult("masking", "at most possible", "confirmed", False, reason="See distilled."),
            GateResult("clean_accuracy", "at least 0.9", 0.92, True, reason="92.0 % or more."),
            GateResult("certified_accuracy", "at least 0.1", None, None, reason="No certifier."),
        ),
        provenance=provenance([f"class {i}" for i in range(10)], plugins),
    )  # fmt: skip


def hostile() -> AuditResult:
    """Every text that comes from outside is out to break the page."""
    script, image, maths, long, rtl, emoji = HOSTILE
    made = [
        masked(name, [threat("8/255", 280, (name, maths), rationale=emoji)], text=" ".join(HOSTILE))
        for name in (script, long)
    ]
    made += [model(name, [threat("8/255", 280, (name,), rationale=long)]) for name in (maths, rtl)]
    made[0] = replace(made[0], gallery=tuple(picture(i, h, h) for i, h in enumerate(HOSTILE)))
    bad = not_run(emoji, "error", " ".join(HOSTILE))
    first = replace(made[0].threats[0], attacks=(*made[0].threats[0].attacks, bad))
    staged = composite(
        rtl, tuple((text, text, 1, 10) for text in HOSTILE), reason=" ".join(HOSTILE)
    )
    more = staged, replace(fab(200, 8 / 255), label=maths + script)
    made[0] = replace(made[0], threats=(replace(first, attacks=first.attacks + more),))
    plugins = (PluginRecord(script, image, emoji, "00", "broken", rtl + long),)
    return audit(
        made,
        title=f"{script} {maths} {image} {rtl} {emoji}",
        reviewers=HOSTILE,
        reasons=HOSTILE,
        not_tested=HOSTILE,
        provenance=replace(provenance(HOSTILE, plugins), command=long + script, started="soon"),
    )


def empty() -> AuditResult:
    """A model that nothing was run against, and a threat without attacks."""
    bare = replace(threat("8/255", 0, ()), robust=None, robust_8bit=None, rationale="")
    skipped = replace(bare, attacks=(not_run("pgd", "skipped", "The time budget was spent."),))
    inconclusive = Masking(verdict="inconclusive", summary="")
    return audit(
        [
            model("bare", [bare], masking=inconclusive),
            model("skipped", [skipped], masking=inconclusive),
            model("no threats", [], masking=inconclusive),
        ],
        status="incomplete",
        verdict="inconclusive",
        exit_status=3,
        gates=(),
        reasons=(),
        not_tested=(),
    )


def many() -> AuditResult:
    """Two norms, a certificate, seven epsilons, twenty attacks, a hundred classes."""
    labels = [f"attack-{i}" for i in range(20)]
    epsilons = [f"{i}/255" for i in (1, 2, 3, 4, 8, 16, 32)]
    threats = [
        threat(e, 60 + 45 * i, labels if i == 6 else labels[:2]) for i, e in enumerate(epsilons)
    ]
    threats = [
        replace(t, attacks=(*t.attacks, cascade(60 + 45 * i))) for i, t in enumerate(threats)
    ]
    threats.append(threat("0.5", 200, LABELS, norm="l2"))
    threats[0] = replace(threats[0], certified=accuracy(120))
    return audit(
        [model("hundred", threats, classes=100)],
        verdict="pass",
        exit_status=0,
        reasons=(),
        gates=(GateResult("clean_accuracy", "at least 0.9", 0.92, True, reason="92.0 %."),),
        provenance=provenance([f"class number {i}" for i in range(100)]),
    )


def masks() -> AuditResult:
    """A model whose gradient is hidden, and one whose gradient is not, after every check."""
    only = threat("8/255", 256, ("fgsm", "pgd-100", "autoattack"))
    pictures = tuple(
        replace(picture(i), attack="check bpda-gap", magnification=8.0) for i in range(1, 5)
    )
    shattered = masked("quantised-4bit", [only])
    return audit(
        [
            replace(
                shattered,
                masking=synthetic_masking.confirmed("shattered", pictures),
                checks=synthetic_masking.checks(),
                findings=(finding("bpda-gap", "high"),),
                gallery=(),
            ),
            model("trained", [only], masking=synthetic_masking.nothing()),
        ],
        selftest=synthetic_masking.selftest(),
    )
