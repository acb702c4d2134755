"""Files that no reader of TOML was made for are refused, at once and with the key at fault."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from config_texts import FULL

from auditor.config import load_config
from auditor.config.limits import MOST_BYTES
from auditor.errors import ConfigError

DEEP, LONG = "[" * 900 + "]" * 900, "1" * 5000


def refused(path: Path, *overrides: str) -> str:
    begin = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert time.process_time() - begin < 5
    assert int(caught.value.exit_status) == 2
    return caught.value.render()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"mine = {DEEP}", "nested more than 40 deep in `mine`.\n  where:    audit.toml:3"),
        ("mine = " + "{ a = " * 900 + "1" + " }" * 900, "nested more than 40 deep in `a`"),
        (f"mine = {LONG}", "A number or key of 5,000 characters stands in `mine`"),
        (f"mine = [1, -0x{LONG}]", "A number or key of 5,003 characters stands in `mine`"),
        (f"mine{'.a' * 900} = 1", "nested more than 40 deep in `mine`"),
        (f"[mine{'.a' * 900}]", "nested more than 40 deep in `mine`"),
    ],
)
def test_nesting_and_digits(text: str, said: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("audit.toml").write_text(f'schema = 1\ntitle = "x"\n{text}\n')
    assert said in refused(Path("audit.toml"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (f"model.0.kwargs.mine={DEEP}", "nested more than 40 deep in `model.0.kwargs.mine`"),
        (f"model.0.kwargs.mine={LONG}", "A number or key of 5,000 characters"),
        (f"data{'.a' * 900}=1", "nested more than 40 deep in `data`"),
    ],
)
def test_overrides_too(override: str, said: str, directory: Path) -> None:
    path = directory / "limits.toml"
    path.write_text(FULL)
    text = refused(path, override)
    assert said in text
    assert len(text) < 1000


def test_brackets_and_digits_in_text_are_text(directory: Path) -> None:
    path = directory / "text.toml"
    path.write_text(FULL)
    for text in (f"'{DEEP}'", f'"{LONG}"', "[" * 30 + "]" * 30):
        config, _ = load_config(path, [f"model.0.kwargs.mine={text}"])
        assert config.models[0].kwargs["mine"]


def test_a_million_keys(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text("\n".join(f"key{i} = 1" for i in range(1_000_000)))
    assert f"no more than {MOST_BYTES:,} are read" in refused(path)


def test_of_many_faults_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.toml"
    path.write_text("schema = 1\n" + "\n".join(f"key{i} = 1" for i in range(10_000)))
    said = refused(path)
    assert "audit.toml has no key `key0`" in said
    assert "There are 9,903 further problems" in said
    assert len(said) < 100_000


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
@pytest.mark.parametrize("name", ["pipe", "/dev/zero"])
def test_a_pipe_or_device_is_not_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "This is a pipe or a device, not a file." in refused(tmp_path / name)
