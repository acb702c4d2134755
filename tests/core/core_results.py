"""A small but complete result of an audit."""

from __future__ import annotations

from auditor.maths.intervals import accuracy
from auditor.results import (
    Accuracy,
    AttackResult,
    AttemptSummary,
    AuditResult,
    CheckResult,
    Comparison,
    DataRecord,
    DirectionCurve,
    Finding,
    GalleryItem,
    GateResult,
    Hidden,
    LossSummary,
    Masking,
    Measurement,
    ModelResult,
    PlantedControl,
    PluginRecord,
    Power,
    Provenance,
    SelftestRecord,
    SelftestRow,
    ThreatResult,
)


def attack_result() -> AttackResult:
    return AttackResult(
        name="pgd", label="pgd-100", parameters={"steps": 100, "step_size": None, "loss": "dlr"},
        status="done", reason="", robust=accuracy(40, 100),
        robust_8bit=accuracy(41, 100), broken=50,
        forwards=1234, backwards=1200, seconds=0.1, surrogate="naive", objective="dlr",
        rejected={"outside the ball": 2}, nonfinite_gradients=1, zero_gradients=3,
        losses=(LossSummary(0, 90, (-1.0, -0.5, 0.1, 0.2, 1 / 3)), LossSummary(1, 0, None)),
    )  # fmt: skip


def threat_result(
    norm: str = "linf",
    epsilon: float = 8 / 255,
    robust: Accuracy | None = None,
    certified: Accuracy | None = None,
) -> ThreatResult:
    return ThreatResult(
        norm, epsilon, "8/255", "half a grey level survives the camera", (attack_result(),),
        robust, robust, certified,
    )  # fmt: skip


def gallery_item() -> GalleryItem:
    return GalleryItem(
        7, "linf", "8/255", "pgd", "cat", "cat", 0.9, "dog", 0.6, 0.031, 10.0, True,
        "AAAA", "BBBB", "CCCC",
    )  # fmt: skip


def model_result(
    name: str = "m",
    *,
    clean: Accuracy | None = None,
    threats: tuple[ThreatResult, ...] = (),
    masking: str = "none",
) -> ModelResult:
    return ModelResult(
        name=name, fingerprint="ab" * 32, parameters=12, outputs="logits", precision="float32",
        classes=10, clean=clean or accuracy(90, 100), threats=threats,
        masking=Masking(
            masking, "why", kind="vanishing", culprit="net.py:3", gradient_attack_accuracy=0.5,
            corrected_accuracy=0.25, hidden=Hidden(3, 100, 0.03, 0.01), power=Power(100, 0.03),
            evidence=("code",), reference="cross-entropy", reasons=("because",),
            next_steps=("this", "that"), norm="linf", epsilon_text="8/255",
            comparison=Comparison(50, 20, 3, 17), control=PlantedControl(True, "It was found."),
            directions=(DirectionCurve(7, "random", (0.0, 0.5), (-1.0, 1 / 3)),),
            examples=(gallery_item(),),
        ),
        checks=(
            CheckResult("rank", "rank-test", {"draws": 19}, "done", "It saw.", True, 12, 3, 0.1, (
                AttemptSummary("again", "naive, repaired", "nothing", 8 / 255, 20, 19),
            )),
        ),
        measurements=(Measurement("eni", 0.25, (0.125, 0.5), 64, "arXiv", "linf", 8 / 255),),
        findings=(Finding("code", "Title", "high", "low", "sum", ("a", "b"), "do", ("r",), "f"),),
        gallery=(gallery_item(),),
    )  # fmt: skip


def audit_result() -> AuditResult:
    provenance = Provenance(
        auditor="0", python="3", torch="2", platform="p", device="cpu", threads=1, batch_size=64,
        seed=0, started="2026-11-20T23:12:05Z", seconds=1.5, command="auditor run", forwards=10,
        backwards=9, versions={"numpy": "2"}, hashes={"data": "cd" * 32},
        plugins=(PluginRecord("pgd", "built-in", "0", "ef" * 32, "loaded"),),
        data=DataRecord("npz", "d.npz", "00" * 32, 1000, 100, (1, 28, 28), ("Ärmel", "")),
    )  # fmt: skip
    return AuditResult(
        schema="auditor.audit/1", title="Größe ≤ “8/255”\n", profile="standard", status="complete",
        verdict="fail", exit_status=1, reasons=("because",), not_tested=(), reviewers=("A", "B"),
        models=(model_result(threats=(threat_result(), threat_result("l2", 0.1))),),
        gates=(GateResult("masking", "at most possible", "suspected", False, "m", reason="r"),
               GateResult("robust_accuracy", "at least 0.4", None, None, "m", "l2", 0.1)),
        provenance=provenance,
        selftest=SelftestRecord("0", "2026-11-20T23:12:05Z", 1, 0, 0, (
            SelftestRow("rounding", ("suspected", "confirmed"), "confirmed"),
        )),
    )  # fmt: skip
