"""`auditor compare`: two audits of the three bands, whose robust images are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from system_files import CONFIG, MODEL, auditor, run_directories

#: Five copies of every picture, moved by a grey level each: 120 images, of which half fall.
MANY = 5


@pytest.fixture
def many(here: Path) -> Path:
    with np.load("data.npz") as file:
        x, y = file["x"].astype(np.int16), file["y"]
    shifted = [np.clip(x + shift, 0, 255) for shift in range(MANY)]
    np.savez("data.npz", x=np.concatenate(shifted).astype(np.uint8), y=np.tile(y, MANY))
    return here


def audit(name: str, config: str = CONFIG, model: str = MODEL) -> Path:
    Path(f"{name}.py").write_text(model, encoding="utf-8")
    text = config.replace("model.py", f"{name}.py").replace("three bands", name)
    Path(f"{name}.toml").write_text(text, encoding="utf-8")
    known = run_directories()
    status, said = auditor("run", f"{name}.toml", "--fresh")
    assert status == 0, said
    (made,) = set(run_directories()) - set(known)
    return made


#: Class 0 is said later, so that those of its images fall whose contrast is 64: 2 of 8.
WEAKER = MODEL.replace(
    "self.linear.bias.zero_()",
    "self.linear.bias.zero_()\n            self.linear.bias[0] -= 0.8",
)


def compared(*arguments: str) -> tuple[int, str, dict[str, Any]]:
    status, said = auditor("compare", *arguments, "--output", "out")
    assert Path("out/compare.json").is_file(), said
    return status, said, json.loads(Path("out/compare.json").read_text(encoding="utf-8"))


def test_one_model_twice(many: Path) -> None:
    a, b = audit("first"), audit("second")
    status, said, found = compared(str(a), str(b), "--fail-on-drop", "0")
    assert (status, found["outcome"]) == (0, "no drop"), said
    (model,) = found["models"]
    for line in model["lines"]:
        paired = line["paired"]
        assert (paired["images"], paired["lost"], paired["won"]) == (120, 0, 0)
        assert (paired["drop"], paired["p_value"]) == (0, 1)
    assert model["lines"][1]["a"]["correct"] == model["lines"][1]["paired"]["both"] == 60
    assert [one["state"] for one in model["findings"]] == ["unchanged"] * len(model["findings"])
    assert {one["key"] for one in found["differences"]} <= {
        "title", "model.factory", "model.sha256", "model.name"}  # fmt: skip
    assert Path("out/compare.pdf").read_bytes().startswith(b"%PDF")


def test_a_drop_beyond_limit_and_chance(many: Path) -> None:
    a = audit("first")
    b = audit("second", CONFIG.replace("epsilon = 0.1", "epsilon = [0.1, 0.13]"))
    weaker = audit("third", CONFIG.replace("epsilon = 0.1", "epsilon = [0.1, 0.13]"), WEAKER)
    status, said, found = compared(str(b), str(weaker), "--fail-on-drop", "0.05")
    robust = found["models"][0]["lines"][1]
    paired = robust["paired"]
    assert paired["lost"] - paired["won"] == robust["a"]["correct"] - robust["b"]["correct"] == 10
    assert paired["both"] + paired["lost"] == robust["a"]["correct"]
    assert paired["both"] + paired["won"] == robust["b"]["correct"]
    assert len(paired["lost_images"]) == paired["lost"]
    assert (status, found["outcome"], robust["dropped"]) == (1, "drop", True), said
    # A limit that the drop keeps to, and the other way round.
    assert auditor("compare", str(b), str(weaker), "--fail-on-drop", "0.9")[0] == 0
    assert auditor("compare", str(weaker), str(b), "--fail-on-drop", "0")[0] == 0
    # What only one of them audited is told.
    status, said = auditor("compare", str(a), str(b))
    assert (status, "linf 0.13 was audited in B alone" in said) == (0, True)


def test_a_drop_that_chance_explains(many: Path) -> None:
    a, b = audit("first"), audit("second")
    lose_images(b, 3)
    status, _, found = compared(str(a), str(b), "--fail-on-drop", "0.01")
    paired = found["models"][0]["lines"][1]["paired"]
    assert (paired["lost"], paired["won"], paired["p_drop"]) == (3, 0, 0.125)
    assert (status, found["outcome"]) == (0, "no drop")
    lose_images(b, 2)
    status, _, found = compared(str(a), str(b), "--fail-on-drop", "0.01")
    assert (status, found["models"][0]["lines"][1]["paired"]["p_drop"]) == (1, 2**-5)


def lose_images(run: Path, number: int) -> None:
    """Let that many of the images that nothing broke be broken in samples.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(run / "samples.parquet").to_pylist()
    fell = {row["id"] for row in rows if row["broken"]}
    for identity in sorted({row["id"] for row in rows} - fell)[:number]:
        for row in rows:
            row["broken"] |= row["id"] == identity
    pq.write_table(pa.Table.from_pylist(rows), run / "samples.parquet")


@pytest.mark.parametrize("limit", [None, "0.1"])
def test_without_the_images_only_counts_are_shown(limit: str | None, many: Path) -> None:
    a, b = audit("first"), audit("second")
    shutil.copy(a / "audit.json", "audit.json")
    status, said, found = compared(
        "audit.json", str(b), *(["--fail-on-drop", limit] if limit else [])
    )
    assert (status, found["outcome"]) == ((3, "cannot be judged") if limit else (0, "no limit")), (
        said
    )
    assert "A has no samples.parquet that can be read" in " ".join(found["notes"])
    assert all(
        line["paired"] is None and line["a"] and line["b"] for line in found["models"][0]["lines"]
    )


def test_few_images_in_common_rule_nothing_out(many: Path) -> None:
    small = CONFIG.replace('path    = "data.npz"', 'path    = "data.npz"\nsamples = 40')
    a, b = audit("first"), audit("second", small)
    status, _, found = compared(str(a), str(b), "--fail-on-drop", "0.1")
    assert found["models"][0]["lines"][1]["paired"]["images"] == 40
    assert (status, found["outcome"]) == (3, "cannot be judged")
    assert "40 of the 120 images of A and the 40 of B are in both" in " ".join(found["notes"])


def test_other_attacks_are_told(many: Path) -> None:
    a = audit("first")
    b = audit("second", CONFIG.replace("samples = 4\n", "samples = 5\n"))
    _, said, found = compared(str(a), str(b))
    assert found["models"][0]["lines"][1]["attacks"] == ["noise had samples 4 in A, and 5 in B"]
    assert "the attacks differ" in said
    assert {"kind": "configuration", "key": "attack.noise.samples", "a": "4", "b": "5"} in found[
        "differences"
    ]


def test_no_threat_in_common(many: Path) -> None:
    a, b = audit("first"), audit("second", CONFIG.replace("epsilon = 0.1", "epsilon = 0.2"))
    status, said = auditor("compare", str(a), str(b))
    assert (status, "cannot be judged" in said) == (3, True)


def test_what_is_no_audit(many: Path) -> None:
    status, said = auditor("compare", str(audit("first")), "nowhere")
    assert (status, "There is no audit to read" in said) == (2, True)


def test_a_pdf_in_the_place_of_a_run(many: Path) -> None:
    a = audit("first", CONFIG.replace("formats = []", 'formats = ["pdf"]'))
    b = audit("second", CONFIG.replace("samples = 4\n", "samples = 5\n"))
    shutil.copy(a / "report.pdf", "sent.pdf")
    status, said, found = compared("sent.pdf", str(b))
    assert status == 0
    assert "A has no samples.parquet that can be read" in said
    assert found["models"][0]["lines"][1]["a"]["correct"] == 60
    assert "attack.noise.samples" in [one["key"] for one in found["differences"]]
