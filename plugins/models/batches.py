"""Models that were frozen for some sizes of a batch only."""

from __future__ import annotations

from torch import Tensor, cat, nn


class AnyBatch(nn.Module):
    """Asks a model about batches of the sizes it was made for, whatever the size asked for.

    Larger ones are cut; in a smaller one, the last image is repeated. Images of a batch have to be
    independent, which pre-flight looks at.

    Args:
        inner: the model.
        least: the smallest batch it takes.
        most: the largest; None for no limit.
    """

    #: Told in the report.
    remark = ""

    def __init__(self, inner: nn.Module, least: int, most: int | None) -> None:
        super().__init__()
        self.inner = inner
        self.least, self.most = least, most

    def forward(self, x: Tensor) -> object:
        """What the model returns for (B, C, H, W)."""
        if len(x) >= self.least and (self.most is None or len(x) <= self.most):
            return self.inner(x)
        size = self.most or len(x)
        parts = [x[start : start + size] for start in range(0, len(x), size)]
        return _joined([self._asked(part) for part in parts])

    def _asked(self, x: Tensor) -> object:
        missing = self.least - len(x)
        if missing <= 0:
            return self.inner(x)
        return _cut(self.inner(cat([x, x[-1:].expand(missing, *x.shape[1:])])), len(x))


def _cut(answer: object, count: int) -> object:
    if isinstance(answer, Tensor):
        return answer[:count]
    if isinstance(answer, dict):
        return {key: _cut(value, count) for key, value in answer.items()}
    return tuple(_cut(value, count) for value in answer)  # type: ignore[attr-defined]


def _joined(answers: list[object]) -> object:
    """The answers to several batches, as if it had been one."""
    first = answers[0]
    if isinstance(first, Tensor):
        return cat(answers)  # type: ignore[arg-type]
    if isinstance(first, dict):
        return {key: _joined([one[key] for one in answers]) for key in first}  # type: ignore[index]
    return tuple(_joined(list(parts)) for parts in zip(*answers, strict=True))
