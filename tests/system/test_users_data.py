"""Data as users have them: draws, data sets that change, labels, pixels, names, budgets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from system_files import CONFIG, audit_json, auditor, only_run, pictures

#: The model of the small audit, of any number of channels.
MANY = """
import torch
from torch import nn


class Bands(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        return self.scale * x.mean(1).reshape(len(x), 6, 3, 2).mean((1, 3))


def make():
    return Bands()
"""


def configure(*changes: tuple[str, str]) -> None:
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("audit.toml").write_text(text, encoding="utf-8")


def accuracies() -> tuple[float, float]:
    """Clean and robust: 100 % and 50 % where the images are those of the small audit."""
    model = audit_json(only_run())["models"][0]
    return model["clean"]["accuracy"], model["threats"][0]["robust"]["accuracy"]


def notes() -> list[str]:
    found: list[str] = audit_json(only_run())["provenance"]["data"]["notes"]
    return found


def imbalanced() -> None:
    """190 : 10, the model right on all of the one and on four of the other."""
    x, y = pictures()
    left, middle = x[y == 0], x[y == 1]
    common = left[np.arange(190) % len(left)]
    rare = np.concatenate([middle[:4], left[:6]])
    labels = np.r_[np.zeros(190, int), np.ones(10, int)]
    np.savez("data.npz", x=np.concatenate([common, rare]), y=labels)


def test_a_draw_has_the_accuracy_of_the_set(here: Path) -> None:
    imbalanced()
    configure(('"data.npz"', '"data.npz"\nsamples = 100\nexpected_accuracy = 0.97'))
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    clean = audit_json(only_run())["models"][0]["clean"]
    assert clean["weighted"] is None
    assert clean["ci95"][0] < 0.97 < clean["ci95"][1]
    assert "balanced" not in said


def test_a_balanced_draw_says_so_beside_every_number(here: Path) -> None:
    imbalanced()
    keys = 'samples = 20\ndraw = "balanced"\nexpected_accuracy = 0.97'
    configure(
        ('"data.npz"', f'"data.npz"\n{keys}'),
        ("formats = []", 'formats = ["html"]'),
        ("[[gate]]", '[[gate]]\nmetric = "clean_accuracy"\nat_least = 0.8\n[[gate]]'),
    )
    status, said = auditor("run", "audit.toml")
    assert status == 1, said
    assert "70.0% (45.7% to 88.1%) of a class-balanced draw; 97.0% (" in said
    assert "  bands, clean: 97.0% (67.0–100.0)" in said
    assert "  bands, robust, linf 0.1: " in said
    assert "data: The images are a class-balanced draw" in said
    assert "balanced draw" in said
    assert "(97.0 % of the set, its classes weighted)" in said
    model = audit_json(only_run())["models"][0]
    assert model["clean"]["accuracy"] == 0.7
    assert model["clean"]["weighted"]["accuracy"] == pytest.approx(0.97)
    assert model["threats"][0]["robust"]["weighted"] is not None
    assert [(row["available"], row["correct"], row["total"]) for row in model["clean_classes"]] == [
        (190, 10, 10), (10, 4, 10),
    ]  # fmt: skip
    page = (only_run() / "report.html").read_text(encoding="utf-8")
    assert "100 images" not in page
    assert "20 images of 200, drawn class-balanced" in page
    assert page.count("balanced; set: 97.0") >= 3
    assert "Class by class" in page


def test_a_balanced_draw_of_all_images_is_refused(here: Path) -> None:
    configure(('"data.npz"', '"data.npz"\ndraw = "balanced"'))
    status, said = auditor("validate", "audit.toml")
    assert status == 2
    assert "there is no `samples`" in said


def test_random_transforms_are_found(here: Path) -> None:
    Path("data.py").write_text(
        "import numpy as np, torch\n"
        "held = np.load('data.npz')\n"
        "class Flipped(torch.utils.data.Dataset):\n"
        "    def __len__(self):\n"
        "        return 24\n"
        "    def __getitem__(self, i):\n"
        "        x = torch.from_numpy(held['x'][i]).float()[None] / 255\n"
        "        return (x.flip(-1) if torch.rand(()) < 0.5 else x), int(held['y'][i])\n"
        "def load():\n"
        "    return Flipped()\n",
        encoding="utf-8",
    )
    configure(
        ('adapter = "npz"\npath    = "data.npz"', 'adapter = "python"\nfactory = "data.py:load"')
    )
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "The images change each time they are read" in said
    assert "random transforms" in said


@pytest.mark.parametrize("bands", [2, 5, 13])
def test_many_channels_are_audited(here: Path, bands: int) -> None:
    x, y = pictures()
    np.savez("data.npz", x=np.stack([x] * bands, 1), y=y)
    Path("model.py").write_text(MANY, encoding="utf-8")
    configure(("formats = []", 'formats = ["html"]'))
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    assert accuracies() == (1.0, 0.5)
    assert f"{bands} channels of 6 × 6 pixels" in said
    assert f"{bands} channels of 6 × 6 pixels" in " ".join(notes())


def test_labels_in_a_column_and_pixels_just_outside(here: Path) -> None:
    x, y = pictures()
    pixels = x / np.float32(255)
    pixels[0, 0, 0] = -6e-8
    np.savez("data.npz", x=pixels, y=y[:, None])
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    assert accuracies() == (1.0, 0.5)
    assert len(notes()) == 2
    assert all(f"data: {note}" in said for note in notes())


def test_sixteen_bits(here: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=x.astype(np.uint16) * 257, y=y)
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "uint8')" not in said
    assert "x.astype('float32') / 65535" in said


def test_class_names_of_objects_are_named(here: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=x, y=y, class_names=np.array(["a", "b", "c"], dtype=object))
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "The array class_names holds Python objects" in said
    assert "class_names=np.array(class_names, dtype=str)" in said


def test_class_names_of_another_number_are_a_finding(here: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=x, y=y, class_names=np.array(["a", "b", "c", "d", "e"]))
    status, said = auditor("run", "audit.toml")
    assert status == 0
    assert "medium: The classes have another number of names (class-names)" in said
    found = {one["code"]: one for one in audit_json(only_run())["models"][0]["findings"]}
    assert "5 class names and the model tells 3" in found["class-names"]["summary"]


@pytest.mark.parametrize("colour", [False, True])
def test_pictures_of_sixteen_bits_are_refused(here: Path, colour: bool) -> None:
    """Pillow reads colour of 16 bits as 8, and says nothing."""
    for name in ("left", "right"):
        Path("set", name).mkdir(parents=True)
        write_png(Path("set", name, "a.png"), colour)
    configure(('adapter = "npz"\npath    = "data.npz"', 'adapter = "image-folder"\npath = "set"'))
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "divided by 65535" in " ".join(said.split())


def write_png(path: Path, colour: bool) -> None:
    """6 × 6 pixels of 16 bits per channel."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    channels = 3 if colour else 1
    row = b"\0" + np.arange(6 * channels, dtype=">u2").tobytes()
    header = struct.pack(">IIBBBBB", 6, 6, 16, 2 if colour else 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 6)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_a_class_folder_that_is_no_utf8(here: Path) -> None:
    x, y = pictures()
    folders = [os.fsdecode(name) for name in (b"a", b"caf\xe9", b"z [/x]".replace(b"/", b"\\"))]
    for position, (picture, label) in enumerate(zip(x, y, strict=True)):
        Path("set", folders[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(Path("set", folders[label], f"{position:02}.png"))
    configure(
        ('adapter = "npz"\npath    = "data.npz"', 'adapter = "image-folder"\npath = "set"'),
        ("formats = []", 'formats = ["html"]'),
    )
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    assert accuracies() == (1.0, 0.5)
    names = audit_json(only_run())["provenance"]["data"]["class_names"]
    assert names == ["a", r"caf\xe9", r"z [\x]"]
    assert r"caf\xe9" in (only_run() / "report.html").read_text(encoding="utf-8")


def test_folders_that_are_numbers_are_told(here: Path) -> None:
    x, _ = pictures()
    for number in range(11):
        Path("set", str(number)).mkdir(parents=True)
        Image.fromarray(x[number]).save(Path("set", str(number), "a.png"))
    configure(('adapter = "npz"\npath    = "data.npz"', 'adapter = "image-folder"\npath = "set"'))
    status, said = auditor("run", "audit.toml", "--plan")
    assert status == 0, said
    assert "label 2 is the folder 10" in " ".join(said.split())


@pytest.mark.parametrize(
    ("norm", "epsilon", "words"),
    [
        ("l2", "6.1", "no two images of 1 × 6 × 6 pixels in [0, 1] are further apart than 6 in l2"),
        ("l1", "37", "further apart than 36 in l1"),
        ("l1", "3e-6", "lost in the rounding of float32 pixels"),
        ("l2", "1e-50", "pixels are of float32, which cannot hold it"),
        ("linf", "1e-9", "pixels are of float32, which cannot hold it"),
        ("l2", "1e39", "pixels are of float32, which cannot hold it"),
    ],
)
def test_budgets_that_mean_nothing_are_refused(
    here: Path, norm: str, epsilon: str, words: str
) -> None:
    configure(('norm    = "linf"\nepsilon = 0.1', f'norm    = "{norm}"\nepsilon = {epsilon}'))
    status, said = auditor("run", "audit.toml")
    assert status == 2, said
    assert words in " ".join(said.split())
    assert not Path("audits").exists()
