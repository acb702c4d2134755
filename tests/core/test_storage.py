"""Files are written whole or not at all, and are on the disk before they take their place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auditor.storage import StorageError, whole_file, write_atomically


def test_a_file_takes_its_place_once_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "result", []
    path.write_text("old")
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert order == ["sync", "replace"]
    assert [one.name for one in tmp_path.iterdir()] == ["result"]


@pytest.mark.parametrize(
    ("error", "told"),
    [(OSError(28, "no room"), StorageError), (ValueError("odd"), ValueError),
     (KeyboardInterrupt(), KeyboardInterrupt)],
)  # fmt: skip
def test_what_keeps_it_from_being_written_leaves_what_was_there(
    error: BaseException, told: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "result"
    write_atomically(path, b"old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(told):
        write_half()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["result"]
