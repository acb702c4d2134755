"""`auditor.read` on what is no finished audit."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_results import audit_result

from auditor import read
from auditor.errors import UsageError
from auditor.results import to_json


def _run(directory: Path) -> Path:
    (directory / "audit.json").write_text(to_json(audit_result()), encoding="utf-8")
    return directory


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"schema": "auditor.audit/2"}', b"\xff"])
def test_no_audit(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "audit.json").write_bytes(content)
    with pytest.raises(UsageError, match="There is no audit to read"):
        read(tmp_path)


def test_missing_and_damaged_tables(tmp_path: Path) -> None:
    run = read(_run(tmp_path))
    for write in (False, True):
        for name in ("samples.parquet", "adversarial.safetensors") if write else ():
            (tmp_path / name).write_bytes(b"PAR1 and more that is none")
        with pytest.raises(UsageError, match=r"samples\.parquet cannot be read"):
            _ = run.samples
        with pytest.raises(UsageError, match=r"adversarial\.safetensors cannot be read"):
            list(run.examples())
