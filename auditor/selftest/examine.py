"""Audits of the reference defenses, as a user would have them, and what they add up to."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.audit.audit import Audit
from auditor.config import load_config
from auditor.protocols.events import Listener
from auditor.registry import auditor_version
from auditor.results import Masking, SelftestRecord, SelftestRow
from auditor.selftest.references import Reference

_HERE = Path(__file__).parent
_DATA = _HERE / "data"
_CONFIG = """\
schema  = 1
title   = "self-test: {name}"
profile = "{profile}"

[run]
device     = "cpu"
threads    = 1
batch_size = 128
output     = "audits"

[[model]]
name    = "{name}"
factory = "defenses.py:{factory}"
weights = {weights}
outputs = "{outputs}"

[data]
adapter = "npz"
path    = {images}

[[threat]]
norm      = "linf"
epsilon   = 0.1
rationale = "what pgd-trained was trained for"

[report]
formats = []
"""


@dataclass(frozen=True)
class Examined:
    """What the verdict says of a reference defense, and how long the audit took."""

    reference: Reference
    masking: Masking
    seconds: float

    @property
    def missed(self) -> bool:
        """Whether it is a mask that was not found."""
        return self.reference.missed(self.masking.verdict)

    @property
    def blamed(self) -> bool:
        """Whether it is an honest control that was."""
        return self.reference.blamed(self.masking.verdict)


def examine(reference: Reference, folder: Path, profile: str, listener: Listener) -> Examined:
    """Audit `reference` in the directory `folder`.

    The defenses are copied there and loaded from the copy: an audit trusts what belongs to the
    tool, and is to take them for a user's.

    Raises:
        AuditorError: the audit cannot be run.
    """
    begin = time.monotonic()
    if not (folder / "defenses.py").is_file():
        shutil.copyfile(_HERE / "defenses.py", folder / "defenses.py")
    file = folder / f"{reference.name}.toml"
    file.write_text(
        _CONFIG.format(
            name=reference.name,
            profile=profile,
            factory=reference.factory,
            weights=json.dumps(str(_DATA / f"{reference.weights}.safetensors")),
            outputs=reference.outputs,
            images=json.dumps(str(_DATA / "images.npz")),
        ),
        encoding="utf-8",
    )
    config, registry = load_config(file)
    audit = Audit(config, registry, "auditor selftest", listener, resume=False)
    with contextlib.closing(audit):
        result = audit.run()
    return Examined(reference, result.models[0].masking, time.monotonic() - begin)


def summed_up(examined: Sequence[Examined]) -> SelftestRecord:
    """Hits, misses and false alarms of this version, now."""
    now = datetime.datetime.now(datetime.UTC)
    return SelftestRecord(
        version=auditor_version(),
        date=now.isoformat(timespec="seconds"),
        hits=sum(one.reference.masks and not one.missed for one in examined),
        misses=sum(one.missed for one in examined),
        false_alarms=sum(one.blamed for one in examined),
        rows=tuple(
            SelftestRow(one.reference.name, one.reference.expected, one.masking.verdict)
            for one in examined
        ),
    )
