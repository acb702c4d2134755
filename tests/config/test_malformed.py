"""What is said about every malformed configuration, compared with golden messages.

Each malformed/NAME.toml has its message in malformed/NAME.txt, after a line with the exit status.
Lines `#: key=value` in it are what the command line overrides. After a deliberate change, rewrite
the messages with AUDITOR_UPDATE_GOLDEN=1, and read what `git diff` shows as its reader would.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auditor.config import load_config
from auditor.config.problems import listed
from auditor.errors import AuditorError, ConfigError, LoadError
from auditor.registry import Registry, load_registry
from auditor.report import FORMATS

MALFORMED = Path(__file__).parent / "malformed"
NAMES = sorted(path.stem for path in MALFORMED.glob("*.toml"))


def message(name: str) -> str:
    """Exit status and message, without what other plugins would change."""
    path = Path(f"{name}.toml")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    overrides = [line.removeprefix("#: ") for line in lines if line.startswith("#: ")]
    with pytest.raises(AuditorError) as caught:
        load_config(path, overrides)
    text = caught.value.render()
    for names, words in installed(load_registry()).items():
        text = text.replace(listed(names), f"one of: <{words}>")
    return f"exit status {int(caught.value.exit_status)}\n\n{text}\n"


def installed(registry: Registry) -> dict[tuple[str, ...], str]:
    offered = {name for _, name in registry.origins} | {it.name for it in registry.plugins}
    return {
        tuple(sorted(registry.attacks)): "the installed attacks",
        tuple(sorted(registry.checks)): "the installed checks",
        tuple(sorted(registry.data)): "the installed data adapters",
        tuple(sorted(registry.norms)): "the known norms",
        tuple(sorted(registry.profiles)): "the installed profiles",
        tuple(sorted(registry.trackers)): "the installed trackers",
        tuple(sorted(offered)): "all installed names",
        (*FORMATS, *registry.reports): "the report formats",
    }


@pytest.mark.parametrize("name", NAMES)
def test_message(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MALFORMED)
    golden = Path(f"{name}.txt")
    said = message(name)
    if os.environ.get("AUDITOR_UPDATE_GOLDEN"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")


def test_every_message_has_its_file() -> None:
    assert sorted(path.stem for path in MALFORMED.glob("*.txt")) == NAMES


def test_missing_file_and_directory(tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text("schema = 1\n")
    with pytest.raises(ConfigError, match="no such file") as missing:
        load_config(tmp_path / "other.toml")
    assert missing.value.exit_status == 2
    with pytest.raises(ConfigError, match="directory, not a file") as directory:
        load_config(tmp_path)
    assert str(tmp_path / "audit.toml") in directory.value.render()


def test_problems_come_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MALFORMED)
    with pytest.raises(ConfigError) as caught:
        load_config(Path("many-faults.toml"))
    lines = [int(problem.where.split(":")[1].split()[0]) for problem in caught.value.problems]
    assert len(lines) == 9
    assert lines == sorted(lines)


def test_broken_plugin_alone_is_a_load_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MALFORMED)
    with pytest.raises(LoadError):
        load_config(Path("plugins-file-broken.toml"))
    with pytest.raises(ConfigError) as mixed:
        load_config(Path("plugins-broken-and-a-fault.toml"))
    assert not isinstance(mixed.value, LoadError)
