"""The key of everything that is kept of a model: equal keys, equal numbers."""

from __future__ import annotations

from typing import Any

import torch

from auditor.cells.ledger import cell_key
from auditor.config import AuditConfig, ModelConfig
from auditor.registry import Registry, auditor_version
from auditor.subject.samples import Samples
from auditor.subject.victim import Victim
from auditor.usercode.reachable import code_hash


def subject_key(
    config: AuditConfig, model: ModelConfig, victim: Victim, samples: Samples, registry: Registry
) -> str:
    """Sums up all that could change any number of one model, beside attacks and the machine.

    That is how the model is made and of which code and weights, how its answers are read, the
    user's stand-in, the images and how they are read, the seed, the device, and the programs: what
    is kept from before is not kept on when one of them changes. Names of models are not in it.
    """
    run, data, normalize = config.run, config.data, model.normalize
    return cell_key(
        {
            "auditor": auditor_version(),
            "torch": torch.__version__,
            "factory": model.factory or "",
            "kwargs": model.kwargs or {},
            "loader": model.loader and [model.loader, registry.hashes["models", model.loader]],
            "loader parameters": model.written,
            "weights and code": victim.fingerprint,
            "outputs": model.outputs,
            "output_key": model.output_key,
            "precision": [model.precision, str(victim.precision)],
            "normalize": normalize and [normalize.mean, normalize.std],
            "bpda": model.bpda and [model.bpda, code_hash(model.paths["bpda"])],
            "data": samples.sha256,
            "adapter": [data.adapter, data.written, registry.hashes.get(("data", data.adapter))],
            "seed": run.seed,
            "device": _device(victim.device),
            "search_precision": run.search_precision,
        }
    )


def _device(device: torch.device) -> list[Any]:
    """Kind and make: another rounds otherwise."""
    return [device.type, torch.cuda.get_device_name(device) if device.type == "cuda" else ""]
