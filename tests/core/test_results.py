"""audit.json: what is written is read again, bit for bit, and nothing else is read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from core_results import audit_result, model_result

from auditor.results import SCHEMA, from_json, json_schema, to_json


def test_round_trip():
    result = audit_result()
    assert from_json(to_json(result)) == result


def test_text_is_plain_json_with_a_final_newline():
    text = to_json(audit_result())
    assert text.endswith("}\n")
    data = json.loads(text)
    assert data["schema"] == SCHEMA
    assert data["models"][0]["threats"][0]["epsilon"] == 8 / 255
    assert data["models"][0]["threats"][0]["certified"] is None
    assert data["models"][0]["threats"][0]["attacks"][0]["parameters"]["step_size"] is None
    assert data["models"][0]["clean"]["ci95"] == list(model_result().clean.ci95)


def change(text: str, *path, value=None, drop: bool = False) -> str:
    data = json.loads(text)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "auditor.audit/2"),
        (("verdict",), "perhaps"),
        (("exit_status",), "many"),
        (("models", 0, "masking", "verdict"), "maybe"),
        (("models", 0, "clean", "accuracy"), None),
        (("provenance", "data", "shape"), [1, 28]),
    ],
)
def test_values_of_no_such_kind_are_refused(path, value):
    with pytest.raises(ValueError, match=":"):
        from_json(change(to_json(audit_result()), *path, value=value))


@pytest.mark.parametrize("path", [("schema",), ("models",), ("models", 0, "clean")])
def test_missing_keys_are_refused(path):
    with pytest.raises(ValueError, match=":"):
        from_json(change(to_json(audit_result()), *path, drop=True))


def test_truncated_text_is_refused():
    with pytest.raises(ValueError, match=":"):
        from_json(to_json(audit_result())[:-100])


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        audit_result().title = "other"


def test_schema_names_every_field_of_the_result():
    schema = json_schema()
    assert set(schema["properties"]) == {field.name for field in dataclasses.fields(audit_result())}
    model = schema["$defs"]["ModelResult"]["properties"]
    assert set(model) == {field.name for field in dataclasses.fields(model_result())}
    assert schema["properties"]["schema"]["const"] == SCHEMA
