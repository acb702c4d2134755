"""Work on a batch in as large pieces as the memory allows, found by trying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from auditor.errors import text_of

_T = TypeVar("_T")
#: What torch says when the memory of a CPU runs out; there is no class of its own for it.
_CPU_MESSAGES = ("not enough memory", "can't allocate memory", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in text_of(error) for text in _CPU_MESSAGES)


@dataclass
class Pieces:
    """Cuts batches, and remembers how large a piece the memory has room for.

    `limit` is the largest number of images worked on at once; None as long as memory never ran out.
    """

    limit: int | None = None

    def run(self, work: Callable[[slice], _T], count: int) -> list[_T]:
        """`work` on slices that cover `range(count)`; where memory runs out, half is tried again.

        Raises:
            Exception: whatever `work` raises, lack of memory for a single image included.
        """
        done: list[_T] = []
        start = 0
        while start < count:
            stop = min(count, start + (self.limit or count))
            result = self._try(work, slice(start, stop))
            if result is None:
                self.limit = max(1, (stop - start) // 2)
            else:
                done.append(result[0])
                start = stop
        return done

    def _try(self, work: Callable[[slice], _T], part: slice) -> tuple[_T] | None:
        """The work's result; None where memory ran out and a smaller piece may do."""
        try:
            return (work(part),)
        except Exception as error:
            if part.stop - part.start == 1 or not is_out_of_memory(error):
                raise
        # Only here is the traceback gone that holds the failed attempt's tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
