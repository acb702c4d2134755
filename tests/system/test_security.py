"""What comes from others starts no program, and changes no result."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from auditor_plugins.data.image_folder import ImageFolder
from auditor_plugins.data.pictures import only_these_formats
from PIL import Image
from safetensors.torch import load_file
from system_files import CONFIG, audit_json, auditor, only_run

from auditor.errors import LoadError

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 6 6
%%EndComments
showpage
"""


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `gs` that leaves a mark; the fixture's value is the mark."""
    mark, folder = tmp_path / "started", tmp_path / "bin"
    folder.mkdir()
    program = folder / "gs"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 0\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    return mark


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Ghostscript")
def test_a_picture_that_is_a_program_in_disguise_starts_none(
    ghostscript: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(tmp_path / "set" / name / "a.png")
    (tmp_path / "set" / "b" / "z.png").write_bytes(EPS)
    images = ImageFolder(path=str(tmp_path / "set")).load()
    with pytest.raises(LoadError, match="cannot be read"):
        images.x[np.array([2])]
    with only_these_formats(), pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(EPS)).load()
    assert not ghostscript.exists()
    with contextlib.suppress(Exception):  # what it printed is no picture
        Image.open(io.BytesIO(EPS)).load()
    assert ghostscript.exists(), "Pillow starts none any more: this test proves nothing"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"])
def test_pictures_of_the_usual_formats_are_read_whatever_they_are_called(
    kind: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((6, 6, 3), 90, np.uint8)).save(tmp_path / name / "a.png", kind)
    images = ImageFolder(path=str(tmp_path), channels=3).load()
    assert np.abs(images.x[np.arange(2)].astype(int) - 90).max() <= 2


REPORTERS = '''
from auditor.api import hookimpl, reporter


@reporter(name="forger")
def forger(result, directory):
    """Says what is not so."""
    file = directory / "audit.json"
    file.write_text(file.read_text().replace('"fgsm"', '"none"'))
    result.models[0].threats[0].attacks[0].parameters["forged"] = True
    (directory / "forged.txt").write_text("x")
    return directory / "forged.txt"


@reporter(name="over")
def over(result, directory):
    """Writes over the result."""
    (directory / "audit.json").write_text("{}")
    return directory / "audit.json"


@reporter(name="tables")
def tables(result, directory):
    """Writes into the tables."""
    (directory / "samples.parquet").write_bytes(b"PAR1")
    (directory / "mine.txt").write_text("x")
    return directory / "mine.txt"


@hookimpl
def auditor_reports():
    return [forger, over, tables]
'''


def test_a_plugins_report_cannot_change_the_result_and_reports_follow_the_umask(
    here: Path,
) -> None:
    Path("reporters.py").write_text(REPORTERS, encoding="utf-8")
    text = CONFIG.replace("formats = []", 'formats = ["html"]')
    Path("audit.toml").write_text(text, encoding="utf-8")
    before = os.umask(0o027)
    try:
        assert auditor("run", "audit.toml")[0] == 0
        directory = only_run()
        assert stat.S_IMODE((directory / "report.html").stat().st_mode) == 0o640
        for name in ("forger", "over"):
            content = (directory / "audit.json").read_bytes()
            status, said = auditor(
                "report", str(directory), "-p", "reporters.py", "--format", name, "--format", "html"
            )
            assert status == 4
            assert "audit.json" in said
            assert (directory / "audit.json").read_bytes() == content
        status, said = auditor("report", str(directory), "-p", "reporters.py", "--format", "tables")
        assert status == 4
        assert "changed samples.parquet" in said
        assert "run the audit again" in " ".join(said.split())
    finally:
        os.umask(before)
    assert "forged" not in (directory / "report.html").read_text(encoding="utf-8")


def test_slashes_in_names_make_no_two_archives_entries_meet(here: Path) -> None:
    table = '[[model]]\nname    = "bands"\nfactory = "model.py:make"\n'
    assert table in CONFIG
    two = "".join(
        table.replace('"bands"', f'"{name}"') for name in ("nets/best", "nets%2Fbest", "nets")
    )
    text = CONFIG.replace(table, two).replace('use = "fgsm"', 'use = "fgsm"\nlabel = "a/b"')
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    directory = only_run()
    names = {
        name.rpartition("/linf/")[0] for name in load_file(directory / "adversarial.safetensors")
    }
    assert names == {"nets%2Fbest", "nets%252Fbest", "nets"}
    assert [model["name"] for model in audit_json(directory)["models"]] == [
        "nets/best", "nets%2Fbest", "nets",
    ]  # fmt: skip


def test_an_attack_cannot_take_a_checks_name(here: Path) -> None:
    text = CONFIG.replace('use = "fgsm"', 'use = "fgsm"\nlabel = "check transfer"')
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("validate", "audit.toml")
    assert status == 2
    assert 'a label that does not begin with "check "' in said


def test_commands_say_which_plugins_they_import(here: Path) -> None:
    Path("reporters.py").write_text(REPORTERS, encoding="utf-8")
    for command in (("validate", "audit.toml"), ("run", "audit.toml", "--plan")):
        status, said = auditor(*command, "-p", "reporters.py")
        assert status == 0
        words = " ".join(said.split())
        assert "Imported, which runs their code: reporters (reporters.py)." in words
        assert "Imported" not in auditor(*command)[1]
