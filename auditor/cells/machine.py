"""What is measured once per run and then kept, so that a resumed run computes as the first did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from auditor.cells.cell import ModelUnderAudit
from auditor.cells.tuning import (
    MEASURED_IMAGES,
    Left,
    measure_batch_size,
    measure_form,
    measure_search_precision,
    measure_threads,
)
from auditor.config import AuditConfig
from auditor.preflight import Preflight, blaming_model, left_findings, read_batch
from auditor.subject.samples import Samples
from auditor.subject.victim import Victim
from auditor.surrogate import Form, SearchPrecision, in_form, naive

#: Images that threads and the models' forms and precisions are measured on.
_FEW = 128
#: More threads, or images at once, are a damaged number.
_MOST = 10**6


@dataclass(frozen=True)
class Machine:
    """What was chosen, or measured once, for this run."""

    device: torch.device
    threads: int
    batch_size: int


def tune(
    config: AuditConfig,
    device: torch.device,
    victim: Victim,
    samples: Samples,
    before: dict[str, Any],
    subject: str,
) -> Machine:
    """Threads and batch size: as configured, as measured `before`, or measured now.

    Args:
        subject: the key of what they are measured on; another's settings are not taken.
    """
    run = config.run
    before = before if before.get("subject") == subject else {}
    threads = run.threads if run.threads != "auto" else before.get("threads")
    size = run.batch_size if run.batch_size != "auto" else before.get("batch_size")
    x = read_batch(victim, samples, slice(0, MEASURED_IMAGES.get(device.type, _FEW)))
    with blaming_model(victim, f"batches of up to {len(x)} images"):
        if device.type != "cpu":
            threads = torch.get_num_threads()
        elif threads is None:
            threads = measure_threads(victim, x[:_FEW])
        torch.set_num_threads(threads)
        if size is None:
            size = measure_batch_size(victim, x)
    return Machine(device, threads, size)


def prepare(
    config: AuditConfig,
    victim: Victim,
    preflight: Preflight,
    samples: Samples,
    before: dict[str, Any],
    subject: str,
) -> ModelUnderAudit:
    """Choose the surrogates that attacks run on: as measured `before`, or measured now.

    They are the victim's autograd, in float32 where the victim is coarser: in half precision,
    gradients underflow and steps round away. What is found counts only once the victim has
    confirmed it in its own precision. A copy that cannot be had, or does not run, is left, and
    pre-flight's findings say so.
    """
    own = naive(victim)
    if not preflight.has_gradient:
        return ModelUnderAudit(victim, preflight, own, own, "plain", "float32", subject)
    x, left = read_batch(victim, samples, slice(0, _FEW)), Left()
    if victim.precision in (torch.float16, torch.bfloat16):
        own = left.unless(own, lambda: naive(victim).in_precision(torch.float32), x, "float32")
    form: Form = before.get("forms", {}).get(subject) or measure_form(own, x, left)
    surrogate = left.unless(own, lambda: in_form(own, form), x, f"the form {form}")
    search: SearchPrecision
    if config.run.search_precision != "auto":
        search = config.run.search_precision
    else:
        known = before.get("search_precisions", {}).get(subject)
        search = known or measure_search_precision(surrogate, x, left)
    coarse = left.unless(surrogate, lambda: surrogate.for_search(search), x, f"{search}, to search")
    return ModelUnderAudit(
        victim,
        replace(preflight, findings=(*preflight.findings, *left_findings(victim, left.told))),
        surrogate,
        coarse,
        "plain" if surrogate is own else form,
        search,
        subject,
    )


def known(logged: dict[str, Any]) -> dict[str, Any]:
    """What `measured` wrote, if it is whole; else nothing."""
    numbers = [logged.get("threads"), logged.get("batch_size")]
    chosen = [(logged.get("forms"), get_args(Form)),
              (logged.get("search_precisions"), get_args(SearchPrecision))]  # fmt: skip
    whole = all(isinstance(one, int) and 0 < one <= _MOST for one in numbers) and all(
        isinstance(by_model, dict) and all(value in values for value in by_model.values())
        for by_model, values in chosen
    )
    return logged if whole else {}


def measured(machine: Machine, models: Iterable[ModelUnderAudit]) -> dict[str, Any]:
    """What `tune` and `prepare` read back when the run is resumed."""
    models = list(models)
    return {
        "subject": models[0].subject,
        "threads": machine.threads,
        "batch_size": machine.batch_size,
        "forms": {model.subject: model.form for model in models},
        "search_precisions": {model.subject: model.search_precision for model in models},
    }
