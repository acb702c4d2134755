"""However wrong a file or an override is, what comes out is a message."""

from __future__ import annotations

import contextlib
from pathlib import Path

from config_texts import FULL
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.config import load_config
from auditor.errors import AuditorError
from auditor.schema.audit import ARRAYS, TABLES

KEYS = [
    *("schema", "title", "profile"),
    *TABLES,
    *(f"{table}.0" for table in ARRAYS),
    *(f"{table}.{key}" for table, cls in TABLES.items() for key in cls.model_fields),
    *(f"{table}.0.{key}" for table in ARRAYS for key in TABLES[table].model_fields),
    *("data.path", "attack.0.steps", "attack.0.step_size", "model.0.normalize.mean.0", "x.y.z"),
]
VALUES = [
    *(
        "0",
        "-1",
        "1",
        "3.5",
        "1e999",
        "inf",
        "nan",
        "true",
        "''",
        "text",
        "a\nb",
        "8/255",
        "1e999999",
    ),
    *('"1/0"', '"1e400"', "[]", "{}", "[[]]", "[{}]", "[1]", "['a', 'a']", "[0.1, 2]", "{a = 1}"),
    *("2026-01-01", "07:32:00", "[nan]", "99999999999999999999999", "'\\u0000'", '"\\u0000"', "="),
]
EDITS = [
    "",
    "[",
    "]",
    "{",
    "}",
    '"',
    "'",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\r",
    "\t",
    "\0",
    "é",
    "1",
    "x",
]
settings.register_profile("config", deadline=None, max_examples=150)


@settings(
    settings.get_profile("config"), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), min_size=1, max_size=4))
def test_overrides_of_any_kind(directory: Path, overrides: list[tuple[str, str]]) -> None:
    path = directory / "robust.toml"
    path.write_text(FULL)
    with contextlib.suppress(AuditorError):
        load_config(path, [f"{key}={value}" for key, value in overrides])


@settings(settings.get_profile("config"))
@given(st.integers(0, len(FULL)), st.integers(0, 12), st.lists(st.sampled_from(EDITS), max_size=3))
def test_edits_of_any_kind(directory: Path, at: int, cut: int, put: list[str]) -> None:
    path = directory / "edited.toml"
    path.write_bytes((FULL[:at] + "".join(put) + FULL[at + cut :]).encode())
    with contextlib.suppress(AuditorError):
        load_config(path)
