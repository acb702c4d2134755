"""Where in the user's code an operation happens: file, line, module."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch

Effect = Literal["cuts", "flattens", "replaces", "hides", "random", "leaves torch"]
#: What a rule says of an operation: repaired "quiet"ly, it is no site of its own.
Treatment = Effect | Literal["quiet"]

_OURS = str(Path(__file__).parents[1])
_PYTHON = str(Path(contextlib.__file__).parent)

#: Operations as a reader knows them from the source.
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_METHODS = frozenset({"detach", "data", "numpy", "tolist", "__array__"})


@dataclass(frozen=True)
class Site:
    """An operation without an honest gradient, on the way from the input to the logits."""

    operation: str
    #: Relative to the working directory, or the name alone.
    file: str
    line: int
    #: Dotted path of the module being called; empty for the model itself.
    module: str
    effect: Effect
    #: All of it in words.
    where: str
    #: The gradient to the input is zero, cut or false because of it.
    essential: bool = False


class Observer:
    """Collects the sites of one pass.

    Args:
        forbidden: a site that is not to be repaired.
    """

    def __init__(self, forbidden: Site | None = None) -> None:
        self.forbidden = forbidden
        #: Dotted paths of the modules being called, outermost first.
        self.modules: list[str] = []
        self.differentiates = False
        self.leaves_torch = False
        self._region: Site | None = None
        self._known: dict[tuple[str, str, int, str], Site] = {}

    def note(self, operation: str, effect: Effect) -> tuple[Site, bool]:
        """The site of the operation that the user's code is at, and whether to repair it."""
        site = self._site(operation, effect)
        return site, site != self.forbidden

    def region(self) -> tuple[Site, bool] | None:
        """The place where the model switched gradients off, if it did; whether to repair it."""
        if self._region is None and torch.is_inference_mode_enabled():
            return self.note("inference_mode", "cuts")
        return None if self._region is None else (self._region, self._region != self.forbidden)

    def look(self, name: str, args: tuple[Any, ...]) -> None:
        """Called before every operation."""
        if name == "_set_grad_enabled":
            self._region = None if args[0] else self._site("no_grad", "cuts")
        elif name in ("grad", "backward"):
            self.differentiates = True
        elif name in ("numpy", "tolist", "__array__"):
            self.leaves_torch = True

    def _site(self, operation: str, effect: Effect) -> Site:
        frame = _user_frame()
        file, line = _relative(frame.f_code.co_filename), frame.f_lineno
        module = self.modules[-1] if self.modules else ""
        key = operation, frame.f_code.co_filename, line, module
        if key not in self._known:
            shown = _shown(operation)
            where = f"{shown} at {file}:{line}" + (f", module {module}" if module else "")
            self._known[key] = Site(shown, file, line, module, effect, where)
        return self._known[key]


def _shown(operation: str) -> str:
    if operation in _SIGNS:
        return f"comparison {_SIGNS[operation]}"
    if operation in _METHODS:
        return f"Tensor.{operation}"
    if operation[:1].isupper() or not operation.isidentifier():
        return operation
    return f"torch.{operation.strip('_')}"


def _user_frame() -> FrameType:
    """The innermost frame of the user's code; of torchvision's or torch's where there is none."""
    frame: FrameType | None = sys._getframe(1)
    vision: FrameType | None = None
    library: FrameType | None = None
    entered = False
    torch_files = str(Path(torch.__file__).parent)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_OURS):
            if entered:
                break
        elif name.startswith(torch_files + "vision"):
            vision = vision or frame
        elif name.startswith((torch_files, "<")):
            library = library or frame
        elif not name.startswith(_PYTHON) or "site-packages" in name:
            return frame
        entered = entered or not name.startswith(_OURS)
        frame = frame.f_back
    return vision or library or sys._getframe(1)


def _relative(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return Path(filename).name
