"""A victim's pass with every gradient repaired: the session around a `Tape`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from auditor.errors import text_of
from auditor.subject.victim import Victim
from auditor.surrogate.repair.functions import differentiated
from auditor.surrogate.repair.heads import known_scores, opaque
from auditor.surrogate.repair.links import graph, mapped, tensors
from auditor.surrogate.repair.tape import Tape
from auditor.surrogate.repair.truncation import alike
from auditor.surrogate.repair.writing import OverwrittenError
from auditor.surrogate.scores import Pass
from auditor.surrogate.sites import Site

T = TypeVar("T")


@contextlib.contextmanager
def recording(tape: Tape, module: nn.Module) -> Iterator[None]:
    """Whatever `module` computes meanwhile is kept on the tape; afterwards all is as before."""
    hooks = _Hooks(tape, {part: name for name, part in module.named_modules()})
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(tape.observer is not None))
        stack.enter_context(_eager())
        stack.enter_context(_kept())
        stack.enter_context(differentiated(tape))
        stack.enter_context(_scripted(tape))
        for handle in (
            register_module_forward_pre_hook(hooks.enter),
            register_module_forward_hook(hooks.leave, always_call=True),
        ):
            stack.callback(handle.remove)
        stack.enter_context(tape)
        yield


@contextlib.contextmanager
def _scripted(tape: Tape) -> Iterator[None]:
    """Scripted functions cannot be seen through: they are differentiated as they are."""
    kind: Any = torch.jit.ScriptFunction
    original = kind.__call__

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        found = (tape.link(tensor) for tensor in tensors((args, kwargs)))
        links = [link for link in found if link is not None]
        if tape.paused or not links:
            return original(function, *args, **kwargs)
        if tape.observer is not None:
            tape.observer.opaque[function.name] = None
        sites = frozenset[Site]().union(*(link.sites for link in links))
        known = known_scores(tape, (args, kwargs))
        with graph():
            out = original(function, *mapped(tape.soft, args), **mapped(tape.soft, kwargs))
        return mapped(lambda one: opaque(tape, known, tape.adopt(one, sites)), out)

    kind.__call__ = call
    try:
        yield
    finally:
        kind.__call__ = original


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Compiled code runs uncompiled, so that its operations can be seen."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Checkpoints keep what they compute: computed again, it would be without its repairs."""
    kind: Any = getattr(sys.modules.get("torch.utils.checkpoint"), "_checkpoint_hook", None)
    if kind is None or "__enter__" in vars(kind):  # by a pass around this one
        yield
        return
    kind.__enter__, kind.__exit__ = lambda self: self, lambda self, *error: None
    try:
        yield
    finally:
        del kind.__enter__, kind.__exit__  # its parent's, that is


class _Hooks:
    """What happens at the border of every module.

    A module whose result has lost the graph though its input has one (it leaves torch, say) becomes
    the identity backwards, where the shapes agree: the innermost first.
    """

    def __init__(self, tape: Tape, names: dict[nn.Module, str]) -> None:
        self._tape = tape
        self._names = names
        self._path: list[nn.Module] = []
        #: Of every scripted module being called: the grad mode before, the sites so far, and the
        #: scores that go into it.
        self._opened: list[tuple[bool, frozenset[Site], list[torch.Tensor]]] = []

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        """Before a module's call."""
        observer = self._tape.observer
        self._path.append(module)
        if observer is not None:
            observer.enter(module, self._names.get(module, ""), opaque=_opaque(module))
        if not _opaque(module) or self._tape.paused:
            return None
        # Scripted code cannot be seen through: it is differentiated as it is.
        links = (self._tape.link(tensor) for tensor in tensors(args))
        sites = frozenset[Site]().union(*(link.sites for link in links if link is not None))
        self._opened.append((torch.is_grad_enabled(), sites, known_scores(self._tape, args)))
        torch._C._set_grad_enabled(True)
        return mapped(self._tape.soft, args)

    def leave(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        """After a module's call, even if it failed."""
        tape = self._tape
        changed = None
        if not tape.paused and _opaque(module) and self._opened:
            mode, sites, known = self._opened.pop()
            torch._C._set_grad_enabled(mode)
            if out is not None:
                changed = mapped(lambda one: opaque(tape, known, tape.adopt(one, sites)), out)
        elif not tape.paused and out is not None:
            changed = mapped(lambda one: self._bridged(module, args, one), out)
        if self._path and self._path[-1] is module:
            self._path.pop()
            if tape.observer is not None:
                tape.observer.leave()
        return changed

    def _bridged(self, module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
        tape = self._tape
        link = tape.link(out)
        if (link is not None and link.live) or not out.is_floating_point():
            return out
        for value in tensors(args):
            if not tape.live(value) or value.shape != out.shape:
                continue
            if link is None and not alike(value, out):
                continue
            if tape.observer is None:
                return tape.carried(out, value)
            site, allowed = tape.observer.bridge(module)
            return tape.carried(out, value, frozenset({site})) if allowed else out
        return out


def _opaque(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def overwriting(victim: Victim, work: Callable[[bool], T]) -> T:
    """`work(False)`; `work(True)`, more cautiously, where the model writes over what it needs.

    A deployed model may do so (nothing is needed later under no_grad), and then the repaired graph
    cannot be walked back unless copies are kept.
    """
    calls = victim._calls
    try:
        return work(False)
    except RuntimeError as error:
        said = text_of(error)
        known = "modified by an inplace operation" in said or "being modified inplace" in said
        if not known and not isinstance(error, OverwrittenError):
            raise
    victim._calls = calls
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept):
        return work(True)


def repaired_pass(
    victim: Victim,
    point: torch.Tensor,
    *,
    cautious: bool,
    within: contextlib.AbstractContextManager[object],
) -> Pass:
    """The victim's raw answer at `point`, with a repaired graph.

    Where nothing of the graph could be repaired, it is autograd's own. `within` is active while the
    victim runs.
    """
    if not point.requires_grad:  # the answer is the same: what counts as its scores too
        point = point.detach().requires_grad_(True)
    tape = Tape(cautious=cautious)
    with recording(tape, victim.module):
        entrance = tape.entrance(point)
        with within:
            raw = victim.raw(entrance)
    assert isinstance(raw, torch.Tensor)  # pre-flight refuses other outputs
    link = tape.link(raw)
    if link is not None and link.soft is not None and link.live:
        return Pass(raw, link.soft, link.scores)
    with torch.enable_grad(), within:
        soft = victim.raw(point)
    assert isinstance(soft, torch.Tensor)
    return Pass(soft.detach(), soft, None)
