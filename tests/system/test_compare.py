"""`auditor compare`: two audits of pictures of which it is known what has to be lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from math import comb
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from pypdf import PdfReader
from system_example import EXAMPLE
from system_files import CONFIG as SMALL
from system_files import MODEL, auditor, only_run, pictures, write_audit

Audited = Callable[..., Path]


#: The margin follows one rival, so that what FGSM has to find is known.
CONFIG = SMALL.replace('use = "fgsm"', 'use = "fgsm"\nloss = "margin"')


def brittle(amount: float) -> str:
    """The model with patterns on its weights that no picture has; each adds up to 0 over a band.

    Between any two classes they differ by twice the amount on a third of the 36 pixels, and by the
    amount on the others. So an epsilon of 0.1 (25.5 grey levels, both ways) moves the difference of
    two logits by 0.1 (24 max(10 / 12, .) + 12 (.)), each averaged over these: by 2.64 with an
    amount of 0.4, by 4.08 with 0.85, by 2 with none. Contrasts of 64 and 76 make it 2.51 and 2.98.
    """
    lines = """            row, sign = torch.arange(36) // 6 % 3, 1 - 2 * (torch.arange(36) % 2)
            thirds = torch.tensor([[1, 0, -1], [-1, 1, 0], [0, -1, 1]])
            self.linear.weight += AMOUNT * sign * thirds[:, row]
"""
    zero = "            self.linear.bias.zero_()\n"
    return MODEL.replace(zero, lines.replace("AMOUNT", str(amount)) + zero)


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """The run directory of a small audit, made once for every model, configuration and data.

    Of 72 pictures, or some of them: the 24 in three shades. Those of places 12 to 17 in each 24
    have a contrast of 64, those from 18 one of 76.
    """

    @cache
    def make(
        model: str = MODEL, config: str = CONFIG, images: tuple[int, ...] = (), status: int = 0
    ) -> Path:
        where = tmp_path_factory.mktemp("audit")
        write_audit(where, model=model, config=config)
        x, y = pictures()
        x, y = np.concatenate([x + shade for shade in range(3)]), np.tile(y, 3)
        chosen = list(images) or slice(None)
        np.savez(where / "data.npz", x=x[chosen], y=y[chosen])
        found, said = auditor("run", str(where / "audit.toml"))
        assert found == status, said
        return only_run(where)

    return make


def compared(folder: Path, a: Path, b: Path, *more: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what is printed in one line of single spaces, and compare.json."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auditor.comparison.files._pdf", lambda *_: b"")  # it takes its time
        status, said = auditor("compare", str(a), str(b), "--output", str(folder), *more)
    file = folder / "compare.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return status, " ".join(said.split()), found


def ids(images: list[dict[str, int]], side: str = "a") -> list[int]:
    return [image[f"id_{side}"] for image in images]


def test_one_model_twice_is_no_difference(audited: Audited, tmp_path: Path) -> None:
    status, said, found = compared(tmp_path, audited(), audited(), "--fail-on-drop", "0")
    assert status == 0
    assert "Conclusion: no-drop; exit status 0." in said
    assert found["images"] == {"common": 72, "only_a": 0, "only_b": 0}
    (model,) = found["models"]
    (threat,) = model["threats"]
    for one in (model["clean"], threat["robust"]):
        assert (one["p"], one["p_adjusted"], one["outcome"]) == (1, 1, "no difference")
        assert (one["lost"], one["won"], one["change"]) == ([], [], 0)
    assert (model["clean"]["fails"], threat["robust"]["fails"]) == (None, False)
    assert (model["same"], threat["shared"]) == (True, None)
    assert found["differences"] == {"configuration": [], "data": [], "versions": []}
    assert model["findings"]["new"] == model["findings"]["fixed"] == []


def test_a_drop_is_the_images_that_were_lost(audited: Audited, tmp_path: Path) -> None:
    a, b = audited(), audited(brittle(0.85))
    status, said, found = compared(tmp_path, a, b, "--fail-on-drop", "0.03")
    (model,) = found["models"]
    robust = model["threats"][0]["robust"]
    # The half of larger contrasts withstood; now none does.
    assert ids(robust["lost"]) == ids(robust["lost"], "b") == [k for k in range(72) if k % 24 > 11]
    assert [image["label"] for image in robust["lost"]] == [0, 1, 2] * 12
    assert (robust["won"], robust["both_right"], robust["both_wrong"]) == ([], 0, 36)
    assert (robust["a"]["correct"], robust["b"]["correct"], robust["change"]) == (36, 0, -0.5)
    assert robust["p"] == robust["p_adjusted"] == pytest.approx(2 * 0.5**36)
    assert (robust["outcome"], robust["fails"], model["same"]) == ("worse", True, False)
    assert (status, found["conclusion"], found["exit_status"]) == (1, "drop", 1)
    (reason,) = found["reasons"]
    assert "36 images lost, 0 won), a drop of 50" in reason
    assert " ".join(reason.split()) in said


def test_what_was_lost_is_won_the_other_way_round(audited: Audited, tmp_path: Path) -> None:
    a, b = audited(), audited(brittle(0.85))
    status, _, found = compared(tmp_path, b, a, "--fail-on-drop", "0.03")
    robust = found["models"][0]["threats"][0]["robust"]
    assert (status, robust["outcome"], len(robust["won"])) == (0, "better", 36)


def fragile(many: int) -> tuple[int, ...]:
    """All pictures but those of contrast 64, and `many` of these."""
    fall = [k for k in range(72) if 12 <= k % 24 < 18]
    return tuple(k for k in range(72) if k not in fall[many:])


@pytest.mark.parametrize(
    ("images", "limit", "status"),
    [
        (fragile(6), "0.03", 1),
        (fragile(6), "0.099", 1),
        (fragile(6), "0.1", 0),  # six of 60: not beyond it
        (fragile(5), "0.03", 0),  # five lost: p = 0.0625
    ],
)
def test_a_drop_fails_beyond_the_limit_and_beyond_chance(
    images: tuple[int, ...], limit: str, status: int, audited: Audited, tmp_path: Path
) -> None:
    a, b = audited(images=images), audited(brittle(0.4), images=images)
    seen, _, found = compared(tmp_path, a, b, "--fail-on-drop", limit)
    robust = found["models"][0]["threats"][0]["robust"]
    lost = len(images) - 54
    assert (len(robust["lost"]), robust["p"]) == (lost, 2 * 0.5**lost)
    assert (robust["outcome"] == "worse") is (lost == 6)
    assert seen == status


@pytest.mark.parametrize(("many", "status"), [(49, 3), (50, 0)])
def test_a_limit_wants_fifty_images(
    many: int, status: int, audited: Audited, tmp_path: Path
) -> None:
    run = audited(images=tuple(range(many)))
    found = compared(tmp_path, run, audited(), "--fail-on-drop", "0.3")
    assert (found[0], "on 50 images in common or more; these are 49" in found[1]) == (
        status,
        many == 49,
    )


def test_without_a_limit_nothing_fails(audited: Audited, tmp_path: Path) -> None:
    status, said, found = compared(tmp_path, audited(), audited(brittle(0.85)))
    assert (status, found["conclusion"], found["limit"]) == (0, "no-limit", None)
    assert found["models"][0]["threats"][0]["robust"]["fails"] is None
    assert "No limit was set" in said


def test_too_few_images_for_a_limit_is_told(audited: Audited, tmp_path: Path) -> None:
    _, said, _ = compared(tmp_path, audited(), audited(), "--fail-on-drop", "0.03")
    assert "with 1 test at once it takes 6 images lost and none won (8.33 points)" in said
    _, said, _ = compared(tmp_path, audited(), audited(), "--fail-on-drop", "0.09")
    assert "at once" not in said


def test_images_are_known_by_their_content(audited: Audited, tmp_path: Path) -> None:
    """In another order, some left out."""
    chosen = (23, 3, 17, 8, 12, 1)
    a, b = audited(), audited(brittle(0.85), images=chosen)
    status, said, found = compared(tmp_path, a, b)
    assert status == 0
    assert found["images"] == {"common": 6, "only_a": 66, "only_b": 0}
    assert "Of A's 72 images and B's 6 images, 6 are the same" in said
    robust = found["models"][0]["threats"][0]["robust"]
    assert ids(robust["lost"]) == [12, 17, 23]
    assert ids(robust["lost"], "b") == [4, 2, 0]
    assert (robust["a"]["correct"], robust["a"]["total"]) == (3, 6)
    assert "sha256" in [one["key"] for one in found["differences"]["data"]]


@pytest.mark.parametrize(
    ("model", "config", "images", "why"),
    [
        (MODEL, CONFIG.replace("= 0.1", "= 0.2"), (), "no threat is in both"),
        (MODEL, CONFIG.replace('"linf"', '"l2"'), (), "no threat is in both"),
    ],
)
def test_what_has_nothing_in_common_is_not_compared(
    model: str, config: str, images: tuple[int, ...], why: str, audited: Audited, tmp_path: Path
) -> None:
    status, said, _ = compared(tmp_path, audited(), audited(model, config, images))
    assert (status, why in said, list(tmp_path.iterdir())) == (3, True, [])


def test_other_images_are_not_compared(audited: Audited, tmp_path: Path) -> None:
    halves = [audited(images=tuple(range(start, start + 36))) for start in (0, 36)]
    status, said, _ = compared(tmp_path, *halves)
    assert (status, "they have no image in common" in said) == (3, True)


def _models(*names: str) -> str:
    tables = (f'[[model]]\nname = "{name}"\nfactory = "model.py:make"\n' for name in names)
    return CONFIG.replace(
        '[[model]]\nname    = "bands"\nfactory = "model.py:make"\n', "".join(tables)
    )


def test_models_are_paired_by_name_or_as_the_only_ones(audited: Audited, tmp_path: Path) -> None:
    one, two = audited(config=_models("new")), audited(config=_models("old", "new"))
    status, said, found = compared(tmp_path, audited(), one)
    assert (status, found["models"][0]["matched"]) == (0, "position")
    assert "The names differ, and each audit has one model: bands (A)" in said
    _, said, found = compared(tmp_path, one, two)
    assert [model["matched"] for model in found["models"]] == ["name"]
    assert found["unmatched"]["models_b"] == ["old"]
    assert "Only B has old: not compared." in said
    # With a limit it is not enough to have left a model out.
    status, said, found = compared(tmp_path, two, one, "--fail-on-drop", "0.1")
    assert (status, found["conclusion"]) == (3, "open")
    assert "B has no model of the name old: not judged." in said


def test_models_may_be_paired_by_hand(audited: Audited, tmp_path: Path) -> None:
    two = audited(config=_models("old", "new"))
    status, said, _ = compared(tmp_path, audited(), two)
    assert (status, "no model of one has a counterpart" in said) == (3, True)
    status, _, found = compared(
        tmp_path, audited(), two, "--models", "bands=new", "--fail-on-drop", "0"
    )
    assert status == 0
    assert [(one["a"], one["b"], one["matched"]) for one in found["models"]] == [
        ("bands", "new", "asked")
    ]
    keys = [one["key"] for one in found["differences"]["configuration"]]
    assert keys == ["model[bands → new].name"]
    # Two models of one audit.
    assert compared(tmp_path, two, two, "--models", "old=new")[0] == 0
    for text, why in (("old", "does not say which models"), ("bands=newt", 'mean "new"')):
        status, said, _ = compared(tmp_path, audited(), two, "--models", text)
        assert (status, why in said) == (2, True), said


def test_without_images_counts_are_compared_and_that_is_told(
    audited: Audited, tmp_path: Path
) -> None:
    bare, limit = tmp_path / "bare", ("--fail-on-drop", "0.03")
    bare.mkdir()
    b = audited(brittle(0.85))
    shutil.copy(b / "audit.json", bare)
    status, said, found = compared(tmp_path, audited(), bare, *limit)
    robust = found["models"][0]["threats"][0]["robust"]
    # 36 of 72 against 0 of 72: both tails of the hypergeometric distribution.
    assert robust["p"] == pytest.approx(2 * comb(72, 36) / comb(144, 36), rel=1e-9)
    assert (robust["test"], robust["lost"], robust["ci95"]) == ("fisher", None, None)
    assert (status, found["images"], robust["fails"]) == (1, None, True)
    assert "B's images cannot be told apart: there is no samples.parquet beside audit.json." in said
    # Seeing no drop says less.
    status, said, _ = compared(tmp_path, bare, b, *limit)
    assert (status, "so that a drop may be unseen: not judged" in said) == (3, True)
    # A copy of another name stands alone.
    copy = b / "candidate.json"
    shutil.copy(b / "audit.json", copy)
    assert "nothing beside it is taken for its own" in compared(tmp_path, audited(), copy)[1]
    # So does a PDF, which carries the configuration too.
    assert auditor("report", str(b), "--format", "pdf")[0] == 0
    status, said, found = compared(tmp_path, audited(), b / "report.pdf", *limit)
    assert (status, "a PDF carries no samples.parquet" in said) == (1, True)
    assert found["differences"]["configuration"] == []
    # Of other data nothing is judged.
    other = audited(images=tuple(range(12)))
    status, said, _ = compared(tmp_path, other, bare, *limit)
    assert (status, "The two audits are of different data" in said) == (3, True)


def test_a_stronger_attack_is_not_taken_for_a_weaker_model(
    audited: Audited, tmp_path: Path
) -> None:
    weak = CONFIG.replace(
        'use = "fgsm"\nloss = "margin"', 'use = "noise"\nlabel = "noise-1"\nsamples = 1'
    )
    a, b = audited(config=weak), audited()
    status, said, found = compared(tmp_path, a, b, "--fail-on-drop", "0.03")
    (threat,) = found["models"][0]["threats"]
    assert threat["attacks"] == {
        "shared": ["noise"],
        "only_a": ["noise-1"],
        "only_b": ["fgsm"],
        "changed": [],
    }
    robust = threat["robust"]
    assert (status, robust["b"]["correct"]) == (1, 36)
    assert len(robust["lost"]) == robust["a"]["correct"] - 36 > 30
    assert (threat["shared"]["lost"], threat["shared"]["fails"]) == ([], False)
    assert "a change may be of the attacks, and not of the model. Compare the rows of" in said
    assert "weights and code are the same on both sides" in said
    more = audited(config=CONFIG.replace("samples = 4", "samples = 5"))
    _, _, found = compared(tmp_path, b, more)
    (threat,) = found["models"][0]["threats"]
    assert (threat["attacks"]["changed"], threat["attacks"]["shared"]) == (["noise"], ["fgsm"])
    rows = [(one["key"], one["a"], one["b"]) for one in found["differences"]["configuration"]]
    assert rows == [("attack[noise].samples", "4", "5")]


def test_findings_come_go_and_stay(audited: Audited, tmp_path: Path) -> None:
    """Probabilities instead of logits are a finding, and training mode is not one here."""
    soft = MODEL.replace("x.flatten(1))", "x.flatten(1)).softmax(1)")
    a, b = audited(), audited(soft, CONFIG.replace("[data]", 'outputs = "logits"\n\n[data]'))
    _, said, found = compared(tmp_path, a, b)
    new = {one["code"] for one in found["models"][0]["findings"]["new"]}
    assert "output-kind" in new
    assert "finding new: The output is not of the declared kind (high, output-kind)" in said
    _, _, found = compared(tmp_path, b, a)
    findings = found["models"][0]["findings"]
    assert (findings["new"], {one["code"] for one in findings["fixed"]}) == ([], new)
    # Where the names differ, so do the fingerprints; the fact is the same.
    renamed = audited(soft, CONFIG.replace("[data]", 'outputs = "logits"\n\n[data]').replace(
        'name    = "bands"', 'name    = "strips"'))  # fmt: skip
    _, _, found = compared(tmp_path, b, renamed)
    findings = found["models"][0]["findings"]
    assert findings["new"] == findings["fixed"] == []
    assert new <= {one["code"] for one in findings["unchanged"]}


def test_files_say_the_same(audited: Audited, tmp_path: Path) -> None:
    a, b = str(audited()), str(audited(brittle(0.85)))
    assert auditor("compare", a, b, "--fail-on-drop", "0.03", "--output", str(tmp_path))[0] == 1
    found = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    status, schema = auditor("schema", "compare")
    assert status == 0
    jsonschema.validate(found, json.loads(schema))
    page = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "36 images lost, 0 won" in page
    assert "<script" not in page
    pdf = PdfReader(tmp_path / "compare.pdf")
    text = " ".join(" ".join(one.extract_text() for one in pdf.pages).split())
    assert "36 images lost, 0 won" in text
    ((attached,),) = pdf.attachments.values()
    assert attached == (tmp_path / "compare.json").read_bytes()


def test_nothing_is_written_unasked(
    audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(audited().rglob("*"))
    assert auditor("compare", str(audited()), str(audited() / "audit.json"))[0] == 0
    assert list(tmp_path.iterdir()) == []
    assert sorted(audited().rglob("*")) == before


def test_what_is_wrong_is_told(audited: Audited, tmp_path: Path) -> None:
    a, b = str(audited()), tmp_path / "b"
    shutil.copytree(audited(brittle(0.85)), b)
    for arguments, expected, why in (
        ((a, str(tmp_path / "nowhere")), 2, "There is nothing to compare."),
        ((a, str(tmp_path)), 2, "There is no audit.json."),
        ((a, a, "--fail-on-drop", "3"), 2, "did you mean 0.03?"),
        ((a, a, "--fail-on-drop", "-0.1"), 2, "from 0 to below 1"),
        ((a, str(b / "samples.parquet")), 4, "This is no audit."),
    ):
        status, said = auditor("compare", *arguments)
        assert (status, why in said) == (expected, True), said
    shutil.copy(audited() / "samples.parquet", b)
    status, said = auditor("compare", a, str(b))
    assert (status, "samples.parquet is not of this audit." in said) == (4, True), said
    (b / "samples.parquet").write_bytes(b"PAR1")
    status, said = auditor("compare", a, str(b))
    assert (status, "samples.parquet cannot be read." in said) == (4, True), said
    file = b / "audit.json"
    file.write_text(file.read_text().replace('"correct": 0', '"correct": 12'))
    status, said = auditor("compare", a, str(b))
    assert (status, "it was changed or damaged since" in said) == (2, True), said


def test_comparing_takes_no_torch(audited: Audited, tmp_path: Path) -> None:
    script = (
        "import sys; from auditor.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch._C' in sys.modules)"
    )
    files = [str(audited()), str(audited(brittle(0.85))), "--output", str(tmp_path)]
    command = [sys.executable, "-c", script, "compare", *files, "--fail-on-drop", "0.03"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1 False"
    assert {one.name for one in tmp_path.iterdir()} == {
        "compare.html",
        "compare.json",
        "compare.pdf",
    }


def test_the_example(audited: Audited, tmp_path: Path) -> None:
    """A model trained against PGD is better under attack and worse on clean images."""

    def config(name: str) -> str:
        text = CONFIG.replace('"model.py:make"', f'"{EXAMPLE.as_posix()}/models.py:cnn"')
        weights = f'weights = "{EXAMPLE.as_posix()}/weights/{name}.safetensors"'
        text = text.replace('"bands"', f'"{name}"').replace(
            "[data]", f"kwargs = {{ width = 32 }}\n{weights}\n\n[data]"
        )
        data = f'"{EXAMPLE.as_posix()}/data/test-1000.npz"\nsamples = 60'
        return text.replace('"data.npz"', data).replace("batch_size = 8", "batch_size = 60")

    a, b = (audited(config=config(name)) for name in ("baseline", "pgd-trained"))
    status, said, found = compared(tmp_path, a, b, "--fail-on-drop", "0")
    (model,) = found["models"]
    assert (status, model["threats"][0]["robust"]["outcome"]) == (0, "better")
    assert (model["clean"]["change"] < 0, model["clean"]["fails"]) == (True, None)
    assert ("clean accuracy fell by" in said) is (model["clean"]["outcome"] == "worse")
    # As the two audits counted them.
    for side, run in (("a", a), ("b", b)):
        told = json.loads((run / "audit.json").read_text(encoding="utf-8"))["models"][0]
        assert model["clean"][side] == told["clean"]
        assert model["threats"][0]["robust"][side] == told["threats"][0]["robust"]
