"""Where in the user's code an operation happens: file, line, module."""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from auditor.surrogate.names import RANDOM
from auditor.surrogate.sites import Effect, Site

_OURS = str(Path(__file__).parents[1])
_PYTHON = str(Path(contextlib.__file__).parent)

#: Modules that behave otherwise in training mode.
_MODED = (_NormBase, _DropoutNd)
#: Operations as a reader knows them from the source.
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
_NAMES = {"__getitem__": "indexing", "__floordiv__": "operator //", "__rfloordiv__": "operator //"}
_METHODS = (
    *("detach", "data", "numpy", "tolist", "to", "type", "type_as", "int", "long", "short"),
    *("char", "byte", "bool", "half", "bfloat16", "register_hook"),
)


class Observer:
    """Collects the sites of one pass.

    Args:
        forbidden: sites that are not to be repaired.
        bridges: the modules that may be taken for the identity; None for all.
    """

    def __init__(
        self, forbidden: frozenset[Site] = frozenset(), bridges: frozenset[Site] | None = None
    ) -> None:
        self._forbidden = forbidden
        self._allowed_bridges = bridges
        #: Dotted paths of the modules being called, outermost first.
        self.modules: list[str] = []
        self.differentiates = False
        self.leaves_torch = False
        self.draws_random = False
        self.opaque: dict[str, None] = {}
        self.training: dict[str, None] = {}
        self.bridges: set[Site] = set()
        self.random: set[Site] = set()
        self._region: Site | None = None
        self._decorated = self._inference = False
        self._states: list[Any] = []
        self._known: dict[tuple[str, str, int, str], Site] = {}

    @property
    def known(self) -> tuple[Site, ...]:
        """All sites in the order in which the pass came by."""
        return tuple(self._known.values())

    def note(self, operation: str, effect: Effect) -> tuple[Site, bool]:
        """The site of the operation that the user's code is at, and whether to repair it."""
        self.leaves_torch |= effect == "leaves torch"
        site = self._site(operation, effect)
        return site, site not in self._forbidden

    def bridge(self, module: nn.Module) -> tuple[Site, bool]:
        """The same for a module whose result has lost the graph."""
        site, allowed = self.note(type(module).__name__, "cuts")
        self.bridges.add(site)
        return site, allowed and (self._allowed_bridges is None or site in self._allowed_bridges)

    def region(self) -> tuple[Site, bool] | None:
        """The place where the model switched gradients off, if it did; whether to repair it."""
        if self._region is None and self._inference:
            return self.note("inference_mode", "cuts")
        if self._region is None and self._decorated:
            self._region = self._site("no_grad", "cuts")
        return None if self._region is None else (self._region, self._region not in self._forbidden)

    def observe(self, name: str, args: tuple[Any, ...]) -> None:
        """Called before every operation."""
        self._inference = torch.is_inference_mode_enabled()
        if name == "_set_grad_enabled":
            self._region, self._decorated = None, False
            if not args[0] and _decorates():
                self._decorated = True  # the function's first operation says where it is
            elif not args[0]:
                self._region = self._site("no_grad", "cuts")
        elif name in ("grad", "backward"):
            self.differentiates = True
        elif name in RANDOM and not ("dropout" in name and len(args) > 2 and not args[2]):
            self.random.add(self._site(name, "random"))

    def enter(self, module: nn.Module, name: str, *, opaque: bool) -> None:
        """A module is being called."""
        if not self.modules:
            self._states = _random_states()
        self.modules.append(name)
        if opaque:
            self.opaque[name] = None
        if module.training and isinstance(module, _MODED):
            self.training[name] = None

    def leave(self) -> None:
        """The module is done."""
        self.modules.pop()
        if not self.modules:
            self.draws_random |= any(
                not torch.equal(a, b) if isinstance(a, torch.Tensor) else a != b
                for a, b in zip(self._states, _random_states(), strict=True)
            )

    def _site(self, operation: str, effect: Effect) -> Site:
        frame = _user_frame()
        file, line = Path(frame.f_code.co_filename).name, frame.f_lineno
        module = self.modules[-1] if self.modules else ""
        key = operation, frame.f_code.co_filename, line, module
        if key not in self._known:
            shown = _shown(operation)
            where = f"{shown} at {file}:{line}" + (f", module {module}" if module else "")
            self._known[key] = Site(shown, file, line, module, effect, where)
        return self._known[key]


class HookWatch(TorchFunctionMode):
    """Notes the places where a model hooks itself into the backward pass."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.sites: set[Site] = set()
        self._observer = Observer()
        self._names = {part: name for name, part in module.named_modules()}

    def __enter__(self) -> HookWatch:
        self._handle = register_module_forward_pre_hook(self._called)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._handle.remove()

    def _called(self, module: nn.Module, args: Any) -> None:
        if module._backward_hooks or module._backward_pre_hooks:
            self._observer.modules.append(self._names.get(module, ""))
            self.sites.add(self._observer.note("backward hook", "replaces")[0])
            self._observer.modules.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "register_hook":
            self.sites.add(self._observer.note(name, "replaces")[0])
        return func(*args, **(kwargs or {}))


def _random_states() -> list[Any]:
    kind, keys, *rest = np.random.get_state()
    numpy_state = (kind, np.asarray(keys).tobytes(), *rest)
    states: list[Any] = [torch.get_rng_state(), random.getstate(), numpy_state]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def _decorates() -> bool:
    """Whether gradients are switched off by a decorator, not by a with statement."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(8):
        if frame is None:
            return False
        if frame.f_code.co_name == "decorate_context":
            return True
        frame = frame.f_back
    return False


def _shown(operation: str) -> str:
    if operation.strip("_") in _SIGNS:
        return f"comparison {_SIGNS[operation.strip('_')]}"
    if operation in _NAMES:
        return _NAMES[operation]
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
