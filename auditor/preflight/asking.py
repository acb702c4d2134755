"""How a model can be asked: with images of which type, in batches of which sizes.

Both are found by trying, for no other reason than that a model raises tells of its number. Where
nothing helps, what the audit did to the model is taken back for a try, so that it can be named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from auditor.errors import LoadError, raised_at, running_line, told
from auditor.subject.memory import is_out_of_memory
from auditor.subject.victim import Victim

#: What the audit does to a model beforehand, what an error that goes without it means, and how the
#: model can be written so that it does not matter.
_TREATMENTS = {
    "parameters": (
        "the audit freezes parameters, and this model needs gradients of its own, as one that "
        "adapts itself does",
        "audit the model without its adaptation, or let forward() adapt a copy: "
        "weight = self.weight.detach().clone().requires_grad_(), under torch.enable_grad()",
    ),
    "graph": (
        "the audit asks under torch.no_grad(), and this model differentiates something itself",
        "decorate its forward with @torch.enable_grad(), as it may be deployed without a graph",
    ),
    "mode": (
        "the audit has called eval(), and this model works in training mode only",
        "make it work after model.eval(), which is how models are deployed",
    ),
}


def answer_of(victim: Victim, x: torch.Tensor) -> object:
    """The scores of images `x` in pieces for which there is room, or what is in their place."""
    parts = victim.pieces.run(lambda part: victim.raw(x[part]), len(x))
    if len(parts) > 1 and all(isinstance(one, torch.Tensor) and one.dim() for one in parts):
        return torch.cat(parts)  # type: ignore[arg-type]
    return parts[0]


def scores_of(victim: Victim, x: torch.Tensor) -> torch.Tensor:
    """The same once it is known that they are (B, K) scores."""
    z = answer_of(victim, x)
    assert isinstance(z, torch.Tensor)  # refused before
    return z


@torch.no_grad()
def settle(victim: Victim, probe: torch.Tensor) -> tuple[object, int]:
    """Find out what `victim` takes; sets `takes`, `least`, `multiple` and the limit of `pieces`.

    Returns:
        What the model returns for the first images of `probe`, and how many these are.

    Raises:
        LoadError: it takes nothing that was tried.
    """
    with _blaming(victim, probe):
        size = _settle_type(victim, probe)
        answer = answer_of(victim, probe[:size])
    calls = victim._calls
    victim.least = _least(victim, probe, answer, size)
    if 1 < victim.least < size and _refusal(victim, probe, answer, victim.least + 1) is not None:
        victim.multiple = victim.least
    victim._calls = calls
    if victim.least == size > 1:  # nothing says that it takes more
        victim.pieces.limit = size
    return answer, size


def _settle_type(victim: Victim, probe: torch.Tensor) -> int:
    """Sets the type of the input; returns how many images were taken at once."""
    whole = min(len(probe), victim.pieces.limit or len(probe))
    sizes = [whole, *(n for n in (32, 16, 8, 4, 2, 1) if n < whole)]
    sizes += [n for n in (2, 4, 8, 16, 32, 64) if whole < n <= len(probe)]
    first: Exception | None = None
    odd: tuple[int, torch.dtype] | None = None
    for size in sizes:
        if odd is not None and size < whole:
            continue  # what it returns for many images is wrong, and not how many they are
        victim.least = size if size > whole else 1
        for dtype in _types(victim, probe[:size]):
            victim.takes = dtype
            try:
                answer = answer_of(victim, probe[:size])
            except LoadError:
                raise
            except Exception as error:
                _raise_unless_lasting(victim, probe[:size], error)
                first = first or error
                continue
            if isinstance(answer, torch.Tensor) and answer.shape[:-1] != (size,):
                odd = odd or (size, dtype)
                continue
            if size < whole:
                assert first is not None
                victim.pieces.limit = size
                place = raised_at(first)
                victim.refuses = f"{whole} images, it raises {told(first)}"
                victim.refuses += f" (at {place})" if place else ""
            return size
    if odd is None:
        assert first is not None
        raise first
    victim.least = 1
    size, victim.takes = odd  # no rows of scores whatever the batch: refused elsewhere
    return size


def _raise_unless_lasting(victim: Victim, x: torch.Tensor, error: Exception) -> None:
    """Raise the error again if it has nothing to do with how images `x` are given."""
    if is_out_of_memory(error):  # of one image: fewer there are not
        raise error
    try:
        victim.raw(x)
    except Exception:
        return
    raise error


def _types(victim: Victim, x: torch.Tensor) -> list[torch.dtype]:
    """The types that the model may take, the likeliest first.

    Weights of one type go with images of that type, unless the model casts its images itself; where
    there are several types, images are what they usually are, float32.
    """
    plain = torch.float32
    ordered = [*victim.types, plain] if len(victim.types) == 1 else [plain, *victim.types]
    if victim.types != (plain,) and _casts(victim, x):
        ordered = [plain, *victim.types]
    return list(dict.fromkeys(ordered))


def _casts(victim: Victim, x: torch.Tensor) -> bool:
    """Whether the model, given float32, brings it to a type of its weights by itself."""
    watch, before = _CastWatch(set(victim.types) - {torch.float32}), victim.takes
    victim.takes = torch.float32
    try:
        with watch:
            victim.raw(x)
    except Exception:  # it does not take them
        return False
    finally:
        victim.takes = before
    return watch.seen


class _CastWatch(TorchFunctionMode):
    """Sees whether something in float32 is brought to one of these types."""

    def __init__(self, types: set[torch.dtype]) -> None:
        super().__init__()
        self._types = types
        self.seen = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("to", "half", "bfloat16", "double", "type", "type_as"):
            self.seen |= args[0].dtype == torch.float32 and out.dtype in self._types
        return out


@dataclass(frozen=True)
class Refusal:
    """A batch that a model does not take."""

    size: int
    #: What it raised or returned, and where.
    what: str
    where: str


def _least(victim: Victim, probe: torch.Tensor, answer: object, most: int) -> int:
    """The smallest batch that is answered as all larger ones are."""
    if not isinstance(answer, torch.Tensor) or answer.dim() != 2 or len(answer) != most:
        return victim.least  # no scores at all: refused elsewhere
    least = victim.least
    victim.least = victim.multiple = 1
    for size in (2, 1):
        if size < most and _refusal(victim, probe, answer, size) is not None:
            rising = (n for n in (2, 4, 8, 16, 32) if size < n < most)
            fits = (n for n in rising if _refusal(victim, probe, answer, n) is None)
            return max(least, next(fits, most))
    return least


@torch.no_grad()
def small_batches(victim: Victim, probe: torch.Tensor) -> tuple[Refusal, ...]:
    """The batches of one and two images that the model does not take, with what it does there."""
    most = min(len(probe), max(victim.least, victim.pieces.limit or len(probe)))
    if victim.least == 1:
        return ()
    answer, known = answer_of(victim, probe[:most]), (victim.least, victim.multiple)
    least = victim.least
    victim.least = victim.multiple = 1
    try:
        found = (_refusal(victim, probe, answer, size) for size in (1, 2) if size < least)
        return tuple(one for one in found if one is not None)
    finally:
        victim.least, victim.multiple = known


def _refusal(victim: Victim, probe: torch.Tensor, whole: object, size: int) -> Refusal | None:
    """What is wrong with the answer to a batch of that size; None where it is as it should be."""
    assert isinstance(whole, torch.Tensor)
    watch = _LostBatch(size)
    try:
        with watch:
            answer = victim.raw(probe[:size])
    except Exception as error:
        _raise_unless_lasting(victim, probe[:size], error)
        return Refusal(size, f"it raises {told(error)}", raised_at(error))
    expected = (size, *whole.shape[1:])
    if isinstance(answer, torch.Tensor) and answer.shape == expected:
        return None
    shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
    return Refusal(size, f"it returns {shape} in the place of {expected}", watch.where)


class _LostBatch(TorchFunctionMode):
    """Notes the last operation whose result has no longer the batch as its first axis."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self.where = ""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = args[0] if args else None
        if isinstance(given, torch.Tensor) and isinstance(out, torch.Tensor):
            had = given.dim() > 0 and given.shape[0] == self._size
            if had and (not out.dim() or out.shape[0] != self._size):
                name = getattr(func, "__name__", "an operation")
                self.where = f"{name}() at {running_line()}"
        return out


@contextlib.contextmanager
def _blaming(victim: Victim, probe: torch.Tensor) -> Iterator[None]:
    """Name what the audit did to the model, where the model fails because of it."""
    try:
        yield
    except (KeyboardInterrupt, LoadError):
        raise
    except Exception as error:
        treatment = _to_blame(victim, probe)
        if treatment is None:
            raise
        what, remedy = _TREATMENTS[treatment]
        place = raised_at(error)
        raise LoadError(
            f"The model raised {told(error)}. It does not raise it as its factory made it: {what}.",
            where=f"model {victim.name!r}" + (f", raised at {place}" if place else ""),
            expected="scores from a frozen model in evaluation mode, without a graph",
            remedy=remedy,
        ) from error


def _to_blame(victim: Victim, probe: torch.Tensor) -> str | None:
    """The first of the treatments without which the model answers."""
    few = probe[: victim.pieces.limit or len(probe)]
    for treatment, without in (
        ("parameters", contextlib.ExitStack()),
        ("graph", torch.enable_grad()),
        ("mode", torch.enable_grad()),
    ):
        with victim.as_made(mode=treatment == "mode"), without, contextlib.suppress(Exception):
            victim.raw(few)
            return treatment
    return None
