"""Every data adapter audited end to end on the same pictures, and what it says of broken ones."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from system_files import CONFIG, attack_rows, audit_json, auditor, only_run, pictures

NPZ = 'adapter = "npz"\npath    = "data.npz"'
NAMES = ["left", "middle", "right"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
DATA_PY = """
import numpy as np

def arrays():
    found = np.load("data.npz")
    return found["x"], found["y"]

def table():
    x, y = arrays()
    return {"x": x / 255, "y": y, "class_names": ["left", "middle", "right"]}

class Items:
    classes = ["left", "middle", "right"]
    def __init__(self): self.x, self.y = arrays()
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i][None], int(self.y[i])

class Maite(Items):
    metadata = {"id": "bands", "index2label": {0: "left", 1: "middle", 2: "right"}}
    def __getitem__(self, i): return self.x[i][None], np.eye(3)[self.y[i]], {"id": i}

class Late(Items):
    def __getitem__(self, i):
        if i == 5: raise OSError("disk on fire")
        return super().__getitem__(i)

class Ragged(Items):
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return (x[:, :4] if i == 7 else x), y

def nothing(): return None
def lost(): return {"x": 1}
def short():
    x, y = arrays()
    return x, y[:-1]
def images():
    from auditor.api import Images
    return Images(*arrays(), source="mine")
"""


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def table(labels: list[int | None] | None = None) -> pa.Table:
    x, y = pictures()
    cells = [{"bytes": png(picture), "path": None} for picture in x]
    found = pa.table({"image": cells, "label": y.tolist() if labels is None else labels})
    info = json.dumps({"info": {"features": FEATURES}})
    return found.replace_schema_metadata({"huggingface": info})


def write_folder(root: Path) -> None:
    for position, (picture, label) in enumerate(zip(*pictures(), strict=True)):
        folder = root / NAMES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{position:02}.png")


def write_arrow(root: Path, rows: pa.Table) -> None:
    """As datasets' save_to_disk does, which test_written_by_datasets holds it against."""
    root.mkdir(parents=True)
    with pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as file, \
            pa.ipc.new_stream(file, rows.schema) as stream:  # fmt: skip
        stream.write_table(rows)
    (root / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (root / "state.json").write_text(json.dumps(state))


def write_mnist(root: Path) -> None:
    """The test half of MNIST's own format, of our pictures."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    x, y = pictures()
    for part in ("train", "t10k"):
        head = np.array([0x803, len(x), 6, 6], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + x.tobytes())
        head = np.array([0x801, len(y)], ">i4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + y.astype(np.uint8).tobytes())


def run(data: str) -> tuple[int, str]:
    Path("data.py").write_text(DATA_PY)
    Path("audit.toml").write_text(CONFIG.replace(NPZ, data))
    status, output = auditor("run", "audit.toml")
    return status, re.sub(r"\s+", " ", output)


def write_all() -> None:
    write_folder(Path("folder"))
    write_arrow(Path("saved"), table())
    write_arrow(Path("splits/test"), table())
    Path("splits/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    pq.write_table(table(), "one.parquet", row_group_size=5)
    Path("shards").mkdir()
    pq.write_table(table()[:10], "shards/test-00000-of-00002.parquet")
    pq.write_table(table()[10:], "shards/test-00001-of-00002.parquet", row_group_size=4)
    pq.write_table(table()[:3], "shards/train-00000-of-00001.parquet")
    write_mnist(Path("tv"))


GOOD = [
    'adapter = "image-folder"\npath = "folder"',
    'adapter = "huggingface"\npath = "saved"',
    'adapter = "huggingface"\npath = "splits"\nsplit = "test"',
    'adapter = "parquet"\npath = "one.parquet"',
    'adapter = "parquet"\npath = "shards"\nsplit = "test"',
    'adapter = "torchvision"\ndataset = "MNIST"\nroot = "tv"',
    'adapter = "python"\nfactory = "data.py:arrays"',
    'adapter = "python"\nfactory = "data.py:table"',
    'adapter = "python"\nfactory = "data.py:images"',
    'adapter = "python"\nfactory = "data.py:Items"',
    'adapter = "maite"\nfactory = "data.py:Maite"',
]


@pytest.mark.parametrize("data", GOOD, ids=lambda text: re.sub(r"\W+", "-", text))
def test_an_audit_sees_the_same_images(here: Path, data: str) -> None:
    write_all()
    status, output = run(data)
    assert status == 0, output
    audit = audit_json(only_run())
    assert audit["models"][0]["clean"]["correct"] == 24
    # Contrasts below twice epsilon fall: half of the images, whatever file they were in.
    assert attack_rows(audit)["fgsm"]["broken"] == 12


BROKEN = {
    "path-missing": ('adapter = "image-folder"\npath = "no"', 2, 'folder "no" does not exist'),
    "path-a-file": ('adapter = "image-folder"\npath = "data.npz"', 2, "is a file"),
    "factory-form": ('adapter = "python"\nfactory = "data.py"', 2, "file.py:callable"),
    "factory-missing": ('adapter = "python"\nfactory = "no.py:f"', 2, '"no.py" does not exist'),
    "unlisted": ('adapter = "image-folder"\npath = "folder"\nclasses = ["left", "right"]', 4,
                 "does not list the folders middle"),
    "too-small": ('adapter = "image-folder"\npath = "folder"\ncrop = 7', 4,
                  "00.png"),
    "two-splits": ('adapter = "parquet"\npath = "shards"', 4, "several splits: test, train"),
    "no-column": ('adapter = "parquet"\npath = "one.parquet"\nlabel = "klass"', 4,
                  "column 'klass' is not there"),
    "not-parquet": ('adapter = "parquet"\npath = "data.npz"', 4, "expected: a Parquet file"),
    "which-split": ('adapter = "huggingface"\npath = "splits"', 4, "one of: train, test"),
    "not-saved": ('adapter = "huggingface"\npath = "folder"', 4, "state.json"),
    "misspelt": ('adapter = "torchvision"\ndataset = "MNITS"\nroot = "tv"', 4, "'MNIST'"),
    "not-fetched": ('adapter = "torchvision"\ndataset = "CIFAR10"\nroot = "tv"', 4,
                    "download=True"),
    "wrong-split": ('adapter = "torchvision"\ndataset = "MNIST"\nroot = "tv"\nsplit = "x"', 4,
                    "no split 'x'"),
    "no-function": ('adapter = "python"\nfactory = "data.py:nix"', 4, "no function called 'nix'"),
    "none": ('adapter = "python"\nfactory = "data.py:nothing"', 4, "returned a NoneType"),
    "without-y": ('adapter = "python"\nfactory = "data.py:lost"', 4, "a mapping without y"),
    "lengths": ('adapter = "python"\nfactory = "data.py:short"', 4, "shape (23,) for 24"),
    "raises": ('adapter = "python"\nfactory = "data.py:Late"', 4, "item 5, raised at data.py"),
    "ragged": ('adapter = "python"\nfactory = "data.py:Ragged"', 4, "item 7"),
    "not-maite": ('adapter = "maite"\nfactory = "data.py:Items"', 4, "and metadata"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(here: Path, case: str) -> None:
    data, expected, words = BROKEN[case]
    write_all()
    status, output = run(data)
    assert (status, words in output) == (expected, True), output


def test_pictures_that_differ_or_are_damaged_are_named(here: Path) -> None:
    write_folder(Path("folder"))
    odd = Path("folder/middle/04.png")
    data = 'adapter = "image-folder"\npath = "folder"'
    Image.new("L", (9, 8), 120).save(odd)
    status, output = run(data)
    assert status == 4
    assert "middle/04.png" in output
    assert "(8, 9)" in output
    assert run(f"{data}\nresize = 6\ncrop = 6")[0] == 0
    assert json.dumps(audit_json(only_run())).count("resized to 6, centre crop 6") >= 1
    odd.write_bytes(odd.read_bytes()[:40])
    status, output = run(data)
    assert status == 4
    assert "middle/04.png" in output


@pytest.mark.parametrize(("label", "words"), [(None, "no label"), (-1, "label -1"), (3, "label 3")])
def test_a_label_that_cannot_be_is_named_with_its_row(
    here: Path, label: int | None, words: str
) -> None:
    labels: list[int | None] = pictures()[1].tolist()
    labels[17] = label
    pq.write_table(table(labels), "one.parquet", row_group_size=5)
    status, output = run('adapter = "parquet"\npath = "one.parquet"')
    assert status == 4
    assert words in output
    assert "one.parquet, row 17" in output


def test_empty_sets(here: Path) -> None:
    pq.write_table(table()[:0], "one.parquet")
    Path("folder").mkdir()
    for data in ('"parquet"\npath = "one.parquet"', '"image-folder"\npath = "folder"'):
        status, output = run(f"adapter = {data}")
        assert (status, "The data set is empty" in output) == (4, True), output


def test_written_by_datasets(here: Path) -> None:
    datasets = pytest.importorskip("datasets")
    x, y = pictures()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    rows = {"image": [Image.fromarray(picture) for picture in x], "label": y.tolist()}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk("saved")
    assert run('adapter = "huggingface"\npath = "saved"')[0] == 0
    assert audit_json(only_run())["models"][0]["clean"]["correct"] == 24
