"""Trial: imports each of the modules that are named, one after another, into one process."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def say(name: str, **what: Any) -> None:
    """A line for `auditor.doctor.trial`."""
    print(json.dumps({"trial": name, **what}), flush=True)


def attempt(name: str) -> str:
    """Import a module, of torchvision an operator too; the version it says it has."""
    module = importlib.import_module(name)
    if name == "torchvision":  # compiled for one version of torch, and of no use with another
        import torch

        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        assert module.ops.nms(box, torch.ones(1), 0.5).tolist() == [0]
    return str(getattr(module, "__version__", ""))


def main(arguments: list[str]) -> None:
    """Try all `arguments` before "--without"."""
    split = arguments.index("--without")
    for name in arguments[:split]:
        if name in arguments[split:]:
            continue
        say(name, begins=True)
        try:
            say(name, version=attempt(name))
        except BaseException as error:  # a broken package may raise anything
            say(name, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
