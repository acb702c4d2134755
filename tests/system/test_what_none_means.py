"""Whole audits: what it takes to say that nothing is hidden, and every count that this rests on."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import beta
from system_example import DATA, EXAMPLE
from system_files import CONFIG, MODEL, audit_json, auditor, only_run, pictures

HEAD = """
schema = 1
{head}
[run]
device = "cpu"
threads = 1
batch_size = 64
[[model]]
name = "{name}"
factory = "{example}/models.py:{factory}"
kwargs = {{ width = 32 }}
weights = "{example}/weights/{name}.safetensors"
[data]
adapter = "npz"
path = "{data}"
samples = {samples}
draw = "balanced"
[[threat]]
norm = "linf"
epsilon = 0.1
[report]
formats = ["html"]
"""
PGD = '[[attack]]\nuse = "pgd"\n'
SQUARE = '[[attack]]\nuse = "square"\nqueries = 250\n'
PLANTED = '[[check]]\nuse = "planted-mask"\n'
QUERIES = '[[check]]\nuse = "black-box-gap"\n'


def run(name: str, tables: str, *, head: str = "", samples: int = 80) -> tuple[int, dict[str, Any]]:
    """Exit status and audit.json of an audit of one of the shipped models."""
    factory = {"gradient-mask-toy": "gradient_mask_toy"}.get(name, "cnn")
    text = HEAD.format(
        head=head, name=name, factory=factory, example=EXAMPLE.as_posix(),
        data=DATA.as_posix(), samples=samples,
    )  # fmt: skip
    Path("audit.toml").write_text(text + tables, encoding="utf-8")
    status, _ = auditor("run", "audit.toml")
    return status, audit_json(only_run())


def masking(audit: dict[str, Any]) -> dict[str, Any]:
    (model,) = audit["models"]
    found: dict[str, Any] = model["masking"]
    return found


def page(audit_of: Path | None = None) -> str:
    """The words of report.html."""
    text = ((audit_of or only_run()) / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text).replace("\N{NO-BREAK SPACE}", " "))


def first_page() -> str:
    text = page()
    return text[: text.index("Contents")]


def survivors() -> NDArray[np.bool_]:
    """(N,) what the model classifies correctly and nothing broke, from samples.parquet."""
    table = pq.read_table(only_run() / "samples.parquet").to_pylist()
    ids = sorted({row["id"] for row in table})
    standing = {row["id"]: row["label"] == row["clean_prediction"] for row in table}
    for row in table:
        standing[row["id"]] &= not row["broken"]
    return np.array([standing[one] for one in ids])


def by_hand(power: dict[str, Any], control: dict[str, Any]) -> float:
    """The share that would have been seen, from the counts in audit.json."""
    kinds = power["challenges"]
    rate = 0.0
    for one in kinds:
        (trial,) = (t for t in control["trials"]
                    if (t["kind"], t["points"]) == (one["kind"], one["points"]))  # fmt: skip
        assert trial["found"] == one["control_found"]
        hidden, found = control["hidden"], trial["found"]
        surely = beta.ppf(0.025 / len(kinds), found, hidden - found + 1) if found else 0.0
        rate += surely * one["images"] / power["survivors"]
    for count in range(1, power["survivors"]):
        if (1 - rate) ** count <= 0.025:
            return count / power["samples"]
    return power["survivors"] / power["samples"]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_mask_found_on_a_copy_is_no_challenge_of_the_model() -> None:
    """PGD and the planted mask alone: nobody looked for what this model's own gradient hides."""
    status, audit = run("gradient-mask-toy", PGD + PLANTED)
    found = masking(audit)
    assert (status, found["verdict"]) == (3, "inconclusive")
    attempts = audit["models"][0]["checks"][0]["attempts"]
    assert {attempt["on"] for attempt in attempts} == {"masked copy"}
    assert found["control"]["detected"]
    power = found["power"]
    assert (power["challenged"], power["sensitivity"]) == (0, None)
    assert power["survivors"] == survivors().sum() > 40
    assert power["detectable_fraction"] == power["survivors"] / power["samples"]
    assert any("None of the" in reason and "was searched" in reason for reason in found["reasons"])
    assert "Only 1 of 27 checks of the profile standard was run." in first_page()
    assert "What this can rule out Nothing: none of the" in page()


def test_without_a_control_nothing_is_none() -> None:
    status, audit = run("pgd-trained", PGD + QUERIES)
    found = masking(audit)
    assert (status, found["verdict"]) == (3, "inconclusive")
    assert "No mask was planted, so that nothing shows" in " ".join(found["reasons"])
    assert "1 of 27 checks" in first_page()
    assert audit["not_tested"][0].startswith("Only 1 of 27 checks of the profile standard was run.")
    assert "planted-mask" in audit["not_tested"][0]


def test_attacks_of_the_configuration_are_a_challenge() -> None:
    status, audit = run("pgd-trained", PGD + SQUARE + PLANTED)
    found = masking(audit)
    assert (status, found["verdict"]) == (3, "inconclusive")  # 25 checks are missing
    power = found["power"]
    assert power["challenged"] == power["survivors"] == survivors().sum() > 30
    (way,) = power["challenges"]
    assert (way["kind"], way["points"]) == ("queries", 200)  # of 250: less than the longer trial
    assert power["control_hidden"] == found["control"]["hidden"]
    assert power["sensitivity"] == way["control_found"] / found["control"]["hidden"]
    assert power["detectable_fraction"] == by_hand(power, found["control"])
    assert 0 < power["detectable_fraction"] < power["survivors"] / power["samples"]
    share = f"{100 * power['detectable_fraction']:.1f} % of the {power['samples']} images examined"
    assert f"Hidden adversarial examples on more than {share} would have been seen" in page()


def test_what_square_finds_on_the_masked_example_is_counted() -> None:
    status, audit = run("gradient-mask-toy", PGD + SQUARE + PLANTED)
    found = masking(audit)
    assert (status, found["verdict"]) == (1, "confirmed")
    standing = survivors()
    hidden = found["hidden"]
    assert hidden["total"] - hidden["found"] >= standing.sum()
    assert f"{hidden['found']} of {hidden['found'] + standing.sum()} images" in found["summary"]
    assert f"{hidden['found']} of {hidden['total']}" in page()


@pytest.mark.parametrize(
    "attack",
    [
        'use = "noise"\nsamples = 300',  # random points are no search
        'use = "square"\nqueries = 100',  # shorter than any that was tried on the planted mask
        'use = "pgd"\nlabel = "rescaled"\nsurrogate = "rescaled"',  # the same gradient
    ],
)
def test_what_is_no_challenge(attack: str) -> None:
    _, audit = run("pgd-trained", f"{PGD}[[attack]]\n{attack}\n{PLANTED}", samples=64)
    assert masking(audit)["power"]["challenged"] == 0


def test_the_repaired_gradient_is_a_challenge() -> None:
    repaired = '[[attack]]\nuse = "pgd"\nlabel = "bpda"\nsurrogate = "repaired"\n'
    _, audit = run("pgd-trained", PGD + repaired + PLANTED, samples=64)
    power = masking(audit)["power"]
    (way,) = power["challenges"]
    assert (way["kind"], way["images"]) == ("repaired", power["survivors"])
    assert power["detectable_fraction"] == by_hand(power, masking(audit)["control"])


def test_where_nothing_survives_nothing_is_lacking() -> None:
    margin = PGD + 'loss = "margin"\n'
    status, audit = run("baseline", margin + PLANTED, samples=64)
    found = masking(audit)
    assert survivors().sum() == 0
    assert (status, found["verdict"]) == (0, "none")
    assert found["power"]["detectable_fraction"] == 0
    assert "Only 1 of 27 checks" in first_page()


@pytest.mark.slow
def test_a_battery_that_is_extended_says_none_and_what_that_is_worth() -> None:
    head = 'profile = "quick"\nbattery = "extend"\n'
    status, audit = run("pgd-trained", SQUARE + '[[check]]\nuse = "one-step"\n', head=head)
    found = masking(audit)
    assert (status, found["verdict"]) == (0, "none"), found
    assert audit["profile"] == "quick/5, extended"
    assert not [sentence for sentence in audit["not_tested"] if "checks" in sentence]
    labels = [check["label"] for check in audit["models"][0]["checks"]]
    assert labels[-3:] == ["one-step", "second-look", "loss-directions"]
    queries = np.zeros(len(survivors()), int)
    for cell in (only_run() / "cells").iterdir():
        kept = load_file(cell)
        where = kept["position"]
        queries[where] = np.maximum(queries[where], kept["queries"])
    power = found["power"]
    longest = {way["points"]: way["images"] for way in power["challenges"]}
    standing = survivors()
    assert longest.get(2000, 0) == (standing & (queries >= 2000)).sum()
    assert longest[200] == (standing & (queries >= 200) & (queries < 2000)).sum()
    assert power["challenged"] == sum(longest.values()) == standing.sum()
    assert power["detectable_fraction"] == by_hand(power, found["control"])
    said = f"A share above {power['detectable_fraction']:.1%} would have been seen"
    assert said in found["summary"]
    assert said in first_page()
    assert math.isclose(
        power["sensitivity"],
        sum(way["images"] * way["control_found"] for way in power["challenges"])
        / (power["challenged"] * power["control_hidden"]),
    )


#: Bright pictures get no gradient; the others do.
PARTLY_MASKED = MODEL.replace(
    "class Bands",
    """class Blind(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)


class Bands""",
).replace(
    "return self.linear(x.flatten(1))",
    "bright = x.mean((1, 2, 3)) > 0.7\n"
    "        return self.linear(torch.where(bright[:, None], Blind.apply(x.flatten(1)), "
    "x.flatten(1)))",
)


@pytest.mark.slow
def test_a_mild_gap_is_at_least_a_sign() -> None:
    """Three of 99 images fall to Square and to nothing that follows the gradient."""
    x, y = pictures()
    bright, label = x[:3].astype(int) + 120, y[:3]
    all_x, all_y = np.concatenate([x] * 4 + [bright]), np.concatenate([y] * 4 + [label])
    np.savez("data.npz", x=all_x.astype(np.uint8), y=all_y)
    Path("model.py").write_text(PARTLY_MASKED, encoding="utf-8")
    head = CONFIG.replace("check  = []", 'profile = "quick"').replace(
        '[[attack]]\nuse = "fgsm"\n\n[[attack]]\nuse     = "noise"\nsamples = 4\n', SQUARE + PGD
    )
    Path("audit.toml").write_text(head, encoding="utf-8")
    auditor("run", "audit.toml")
    found = masking(audit_json(only_run()))
    assert found["comparison"]["only_others"] == 3
    assert found["hidden"]["total"] == 99
    assert found["verdict"] in ("possible", "suspected", "confirmed")
    assert any("3 of 99 images withstood every attack" in reason for reason in found["reasons"])
