"""The text of the drafted audit.toml: what was found out, and comments on what was not."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditor.draft.budgets import Budget, customary
from auditor.draft.model_source import LIBRARIES
from auditor.draft.named import Named
from auditor.draft.survey import Seen
from auditor.masking.forecast import Forecast, foretell

_WIDTH = 96
#: Images in a draw: on a CPU large ones take minutes each.
_SAMPLES, _SAMPLES_LARGE = 500, 200
_LARGE = 128
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLACEHOLDERS = {
    "model": {"factory": "my_model.py:make"},
    "data": {"adapter": "npz", "path": "test.npz"},
}
#: Keys that are not there, what to write if they are wanted, and when.
_ABSENT = {
    "weights": ('weights = "my_model.safetensors"', "if the factory does not load them itself"),
    "normalize": ("normalize = { mean = [0.5], std = [0.25] }", "epsilon stays in pixel space"),
    "precision": ('precision = "float16"', "if it is deployed as model.half()"),
    "bpda": ('bpda = "defense.py:surrogate"', "a differentiable stand-in of your own"),
}
#: What the weights that come with these libraries were trained with, as a rule.
_OF_LIBRARIES = {
    "normalize": (
        "normalize = { mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }",
        "as ImageNet's",
    )
}
_CONVENTION = (
    "A convention, not a reason: it makes the number comparable with published ones. Whoever "
    "reviews this audit has to say what an attacker can do in this deployment; write it as the "
    "rationale."
)
_BATTERY = """\
# Without [[attack]] and [[check]] the profile's run. Naming some replaces them:
# [[attack]]
# use = "pgd"                           # auditor list attacks; auditor show pgd
# steps = 100
"""
_GATES = """\
# Exit status 1 when a gate is broken. Masking at most "possible" is a gate of every audit.
[[gate]]
metric = "robust_accuracy"
at_least = 0.40                       # a placeholder: write what the release needs, and why
epsilon = {epsilon}
# until = 2027-03-31                    # a waiver: told, and not counted before that day is over
# reason = "..."
{hash}[[gate]]
{hash}metric = "clean_accuracy"
{hash}at_least = {clean}
"""
_REST = """\
[report]
formats = ["html", "pdf"]
# reviewers = ["name, role"]            # who signs

# [plugins]
# paths = ["my_attack.py"]              # attacks, checks and data adapters of your own
"""


def template(named: Named, seen: Seen | None) -> str:
    """The whole file.

    Args:
        seen: what was seen of them; without it, what to write stands in comments.
    """
    budget = customary(seen.shape, seen.between) if seen else None
    parts = [
        "\n".join(_head(named, seen)),
        "\n".join(_model(named, seen)),
        "\n".join(_data(named, seen)),
        "\n".join(_threat(budget)),
        _BATTERY.rstrip(),
        _gates(seen, budget),
        _REST.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def toml(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(key)} = {toml(part)}" for key, part in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else toml(name)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _lines(table: dict[str, Any]) -> list[str]:
    width = max(map(len, table), default=0)
    return [f"{_key(name):<{width}} = {toml(value)}" for name, value in table.items()]


def _noted(line: str, note: str) -> str:
    """A line with a comment behind it, in one column where there is room."""
    return f"{line:<39} # {note}"


def _head(named: Named, seen: Seen | None) -> Iterator[str]:
    table = named.model or _PLACEHOLDERS["model"]
    name = table.get("name") or model_name(table)
    if seen is None:
        yield from _comment(
            "Drafted by `auditor init` without looking at model and data. Complete it, then: "
            "auditor validate, auditor doctor, auditor run."
        )
    else:
        yield from _comment(
            "Drafted by `auditor init`. Read it, above all [[threat]], then: auditor validate, "
            "auditor run."
        )
    yield "schema  = 1"
    yield f"title   = {toml(f'Robustness of {name}')}"
    yield _noted('profile = "standard"', 'or "quick" for a first look, "thorough"')
    yield ""
    yield "[run]"
    yield "seed   = 0"
    device = f"here: {seen.device}" if seen else 'or "cpu", "cuda", "cuda:1", "mps"'
    yield _noted('device = "auto"', device)
    yield _noted('output = "audits"', "run directories are made in it")


def model_name(table: dict[str, Any]) -> str:
    """What a model is called whose name nobody gave: as its weights, or as its file."""
    for key in ("weights", "factory", "path", "architecture"):
        text = str(table.get(key, ""))
        source = text.rpartition(":")[0] if key == "factory" else text
        if source:
            return Path(source).stem
    return "model"


def _model(named: Named, seen: Seen | None) -> Iterator[str]:
    given = named.model or _PLACEHOLDERS["model"]
    table = {"name": model_name(given), **given}
    yield "[[model]]"
    if seen is not None:
        table.setdefault("outputs", seen.outputs)
        yield from _comment(
            f"Seen: {seen.parameters:,} parameters, {seen.classes} classes, returns {seen.outputs}."
        )
    elif not named.model:
        yield from _comment("To be changed: a function that returns the torch.nn.Module.")
    yield from _lines(table)
    if "outputs" not in table:
        yield _noted('# outputs = "logits"', 'or "log-probabilities", "probabilities"')
    library = table.get("loader") in LIBRARIES
    for key, (line, note) in {**_ABSENT, **(_OF_LIBRARIES if library else {})}.items():
        if key not in table and not (key == "weights" and "checkpoint" in table):
            yield _noted(f"# {line}", note)
    for finding in seen.findings if seen else ():
        if finding.severity != "info":
            text = f"Pre-flight: {finding.title}. {'; '.join(finding.evidence)}."
            yield from _comment(f"{text} Remedy: {finding.remedy}.")


def _data(named: Named, seen: Seen | None) -> Iterator[str]:
    table = dict(named.data or _PLACEHOLDERS["data"])
    yield "[data]"
    if seen is None:
        if not named.data:
            yield from _comment("To be changed: an .npz file with x and y; auditor list data.")
        yield from _lines(table)
        if "samples" not in table:
            yield _noted(f"samples = {_SAMPLES}", "leave it out for all images")
        yield _noted("# expected_accuracy = 0.92", "the run stops when it is far from it")
        return
    channels, height, width = seen.shape
    yield from _comment(
        f"Seen: {seen.images} images of {channels} × {height} × {width} (channels, height, width), "
        f"{seen.dtype}, {seen.labels} different labels."
    )
    samples = images_to_draw(table, seen)
    table.pop("samples", None)
    yield from _lines(table)
    yield from _draw(seen, samples)
    low, high = seen.clean.ci95
    yield from _comment(
        f"Clean accuracy on {seen.clean.total} of them: {seen.clean.accuracy:.1%} (95 % interval "
        f"{low:.1%} to {high:.1%}). Write what the model is known to reach, and the run stops when "
        "it is far from it, as it is with the wrong weights or normalisation:"
    )
    if "expected_accuracy" not in table:
        yield f"# expected_accuracy = {seen.clean.accuracy:.3g}"


def images_to_draw(data: dict[str, Any], seen: Seen) -> int | None:
    """As many as `data` says, or a sensible number; None for all."""
    if "samples" in data:
        return int(data["samples"])
    large = max(seen.shape[1:]) >= _LARGE and seen.device == "cpu"
    samples = max(_SAMPLES_LARGE if large else _SAMPLES, seen.classes)
    return samples if samples < seen.images else None


def forecast(seen: Seen, samples: int | None) -> Forecast | None:
    """What would keep the audit's masking verdict open, on so many images like those seen."""
    drawn = samples or seen.images
    return foretell(int(drawn * seen.clean.accuracy), drawn, seen.classes, seen.images)


def _draw(seen: Seen, samples: int | None) -> Iterator[str]:
    count = samples or seen.images
    width = 196 * math.sqrt(0.25 / count)
    yield from _comment(
        f"{'A uniform draw' if samples else 'All images'}: {count} tell a robust accuracy "
        f"of 50 % to ± {width:.0f} points (95 %)."
    )
    warned = forecast(seen, samples)
    if warned is not None:
        yield from _comment(f"{warned.what} Remedy: {warned.remedy}.")
    yield f"samples = {samples}" if samples else "# samples = 500"


def _threat(budget: Budget | None) -> Iterator[str]:
    yield "[[threat]]"
    if budget is None:
        yield from _comment(
            "Customary in linf: 8/255 for small colour images, 4/255 for those of 224 pixels, 0.1 "
            "or 0.3 for small grey ones."
        )
    else:
        yield from _comment(f"These are {budget.kind}: {budget.source}.")
    yield from _comment(_CONVENTION)
    yield 'norm      = "linf"'
    yield f"epsilon   = {toml(budget.linf if budget else ['4/255', '8/255'])}"
    reason = "convention of the literature"
    about = f" for {budget.kind}" if budget else ""
    yield f"rationale = {toml(f'{reason}{about}; no reason of this deployment was given')}"
    yield "# A second threat, if it is one here:"
    yield "# [[threat]]"
    yield '# norm      = "l2"'
    yield f"# epsilon   = {budget.l2 if budget else 0.5}"
    yield '# rationale = "..."'


def _gates(seen: Seen | None, budget: Budget | None) -> str:
    clean = math.floor(100 * seen.clean.ci95[0]) / 100 if seen else 0.9
    epsilon = budget.linf[-1] if budget else "8/255"
    # What was measured may be asked for; a guess may not.
    unseen = "" if seen else "# "
    return _GATES.format(epsilon=toml(epsilon), clean=clean, hash=unseen).rstrip()
