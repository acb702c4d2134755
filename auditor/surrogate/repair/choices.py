"""Choices among classes and what is made of them: argmax, one-hot, votes, tables looked up in."""

from __future__ import annotations

from typing import Any

import torch

from auditor.surrogate.repair.links import Call, Choice, tensors
from auditor.surrogate.repair.soft import sloped, straight, tempered
from auditor.surrogate.repair.twins import Entry, Twins, entries
from auditor.surrogate.sites import Treatment


def _choice_of(scores: torch.Tensor, dim: int, keepdim: bool, sign: int) -> Choice:
    """Softmax weights over `dim` of the scores, that dimension last."""
    z = (sign * scores).movedim(dim, -1)
    if keepdim:
        z = z.unsqueeze(dim if dim >= 0 else dim - 1)
    return Choice(tempered(z, -1), z)


def _expected(choice: Choice) -> torch.Tensor:
    """The expected index."""
    count = choice.weights.shape[-1]
    places = torch.arange(count, dtype=choice.weights.dtype, device=choice.weights.device)
    return choice.weights @ places


def _index(tape: Twins, hard: torch.Tensor, choice: Choice) -> torch.Tensor:
    return tape.mark(hard, straight(_expected(choice), hard), choice=choice)


def _live(tape: Twins, call: Call) -> Treatment | None:
    return "cuts" if tape.live(call.args[0]) else None


def _argmax(tape: Twins, call: Call) -> Any:
    dim, keepdim = call.argument(1, "dim"), bool(call.argument(2, "keepdim", False))
    scores = tape.soft(call.args[0])
    if dim is None:
        scores, dim, keepdim = scores.flatten(), 0, False
    sign = -1 if call.name == "argmin" else 1
    return _index(tape, call.hard(), _choice_of(scores, dim, keepdim, sign))


def _top_effect(tape: Twins, call: Call) -> Treatment | None:
    if not tape.live(call.args[0]):
        return None
    if call.name == "topk":
        return "quiet" if call.argument(1, "k") == 1 else None
    return "quiet" if isinstance(call.argument(1, "dim"), int) else None


def _top(tape: Twins, call: Call) -> Any:
    """max, min and topk of 1: honest values, and an index that is a choice."""
    top = call.name == "topk"
    dim = call.argument(2, "dim", -1) if top else call.argument(1, "dim")
    keepdim = top or bool(call.argument(2, "keepdim", False))
    lowest = call.name == "min" or (top and not call.argument(3, "largest", True))
    scores = tape.soft(call.args[0])
    values, index = call.func(scores, *call.args[1:], **call.kwargs)
    choice = _choice_of(scores, dim, keepdim, -1 if lowest else 1)
    kind = getattr(torch.return_types, call.name)
    return kind((tape.emit(values), _index(tape, index, choice)))


def _choice(tape: Twins, value: Any) -> Choice | None:
    link = tape.link(value) if isinstance(value, torch.Tensor) else None
    return None if link is None or not link.live else link.choice


def _chosen(tape: Twins, call: Call) -> Treatment | None:
    return "quiet" if _choice(tape, call.args[0]) is not None else None


def _reshaped(tape: Twins, call: Call) -> Any:
    """The same choices in another shape."""
    hard, choice = call.hard(), _choice(tape, call.args[0])
    assert choice is not None
    shape = (*hard.shape, choice.weights.shape[-1])
    if hard.numel() * shape[-1] != choice.weights.numel():
        return tape.plain(call)
    kept = Choice(choice.weights.reshape(shape), choice.scores.reshape(shape))
    return _index(tape, hard, kept)


def _item_effect(tape: Twins, call: Call) -> Treatment | None:
    if _picked(tape, call):
        return "quiet"
    return _lookup_effect(tape, call)


def _picked(tape: Twins, call: Call) -> bool:
    """Whether some of several choices are taken, not an entry of a table."""
    return _choice(tape, call.args[0]) is not None and not list(tensors(call.args[1:]))


def _item(tape: Twins, call: Call) -> Any:
    if not _picked(tape, call):
        return _lookup(tape, call)
    hard, choice = call.hard(), _choice(tape, call.args[0])
    assert choice is not None
    kept = Choice(choice.weights[call.args[1]], choice.scores[call.args[1]])
    return _index(tape, hard, kept) if kept.weights.shape[:-1] == hard.shape else tape.plain(call)


def _joined_effect(tape: Twins, call: Call) -> Treatment | None:
    parts = call.argument(0, "tensors")
    return "quiet" if all(_choice(tape, part) is not None for part in parts) else None


def _joined(tape: Twins, call: Call) -> Any:
    hard, dim = call.hard(), call.argument(1, "dim", 0)
    choices = [_choice(tape, part) for part in call.argument(0, "tensors")]
    at = dim if dim >= 0 else dim - 1
    weights = call.func([one.weights for one in choices if one], at)
    scores = call.func([one.scores for one in choices if one], at)
    return _index(tape, hard, Choice(weights, scores))


def _one_hot(tape: Twins, call: Call) -> Any:
    hard, choice = call.hard(), _choice(tape, call.args[0])
    if choice is not None and choice.weights.shape == hard.shape:
        return tape.mark(hard, straight(choice.weights, hard), scores=choice.scores)
    places = torch.arange(hard.shape[-1], device=hard.device)
    distance = tape.soft(call.args[0])[..., None] - places
    return tape.mark(hard, _bump(distance, hard))


def _bump(distance: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """1 where the distance is 0, falling to both sides."""
    away = distance.detach()
    return sloped(distance, hard, -away.sign() / (1 + away.abs()) ** 2)


def _equal_effect(tape: Twins, call: Call) -> Treatment | None:
    return "cuts"


def _equal(tape: Twins, call: Call) -> Any:
    """== and !=: with a range of classes, the weights of the choice."""
    hard, first, second = call.hard(), call.args[0], call.argument(1, "other")
    flip = call.name in ("ne", "__ne__", "not_equal")
    for one, other in ((first, second), (second, first)):
        choice = _choice(tape, one)
        if choice is not None and _is_range(other, choice, hard):
            weights = choice.weights.reshape(hard.shape)
            soft = 1 - weights if flip else weights
            scores = None if flip else choice.scores.reshape(hard.shape)
            return tape.mark(hard, straight(soft, hard), scores=scores)
    distance = (tape.soft(first) - tape.soft(second)).expand(hard.shape)
    if not distance.is_floating_point():
        return tape.plain(call)
    if flip:
        return tape.mark(hard, 1 - _bump(distance, ~hard), mask=True)
    return tape.mark(hard, _bump(distance, hard), mask=True)


def _is_range(value: Any, choice: Choice, hard: torch.Tensor) -> bool:
    count = choice.weights.shape[-1]
    if not isinstance(value, torch.Tensor) or value.numel() != count:
        return False
    fits = hard.numel() == choice.weights.numel() and hard.shape[-1] == count
    places = torch.arange(count, device=value.device)
    return fits and bool((value.flatten() == places).all())


def _mode(tape: Twins, call: Call) -> Any:
    """The most frequent of several choices: the mean of their weights."""
    choice = _choice(tape, call.args[0])
    assert choice is not None
    dim, keepdim = call.argument(1, "dim", -1), bool(call.argument(2, "keepdim", False))
    at = dim if dim >= 0 else dim - 1
    kept = Choice(choice.weights.mean(at, keepdim), choice.scores.mean(at, keepdim))
    values, index = call.hard()
    return torch.return_types.mode((_index(tape, values, kept), tape.mark(index, None)))


def _sorted(tape: Twins, call: Call) -> Any:
    """argsort; and the argsort of that, which is the rank: it grows with the scores."""
    hard, link = call.hard(), tape.link(call.args[0])
    assert link is not None
    if call.args[0].is_floating_point() or link.scores is None:
        scores = tape.soft(call.args[0])
        scores = -scores if call.kwargs.get("descending") else scores
        return tape.mark(hard, straight(scores, hard), scores=scores)
    z = link.scores
    reach = (z.amax(-1, keepdim=True) - z.amin(-1, keepdim=True)).detach()
    ranks = z * (z.shape[-1] - 1) / torch.where(reach > 0, reach, 1)
    return tape.mark(hard, straight(ranks, hard), scores=z)


# Tables --------------------------------------------------------------------------------------


def _lookup_effect(tape: Twins, call: Call) -> Treatment | None:
    """A table of constants, looked up with an index that depends on the input."""
    table, index = _table(call)
    if not isinstance(index, torch.Tensor) or index.dtype == torch.bool:
        return None
    if index.is_floating_point() or not tape.live(index):
        return None
    return None if tape.live(table) or not table.is_floating_point() else "cuts"


def _table(call: Call) -> tuple[Any, Any]:
    if call.name == "embedding":
        index, table = call.argument(0, "input"), call.argument(1, "weight")
        return table, index
    if call.name == "index_select":
        return call.args[0], call.argument(2, "index") if call.argument(1, "dim") == 0 else None
    if call.name == "take" and call.args[0].dim() != 1:
        return call.args[0], None
    return call.args[0], call.argument(1, "index")


def _lookup(tape: Twins, call: Call) -> Any:
    hard = call.hard()
    table, index = _table(call)
    choice = _choice(tape, index)
    if choice is not None and choice.weights.shape[-1] == len(table):
        soft = torch.tensordot(choice.weights.to(table.dtype), table, dims=1)
        return tape.emit(straight(soft, hard))
    soft = tape.soft(index).to(table.dtype)
    reach = max(1, len(table) // 8)
    low, high = (index - reach).clamp(min=0), (index + reach).clamp(max=len(table) - 1)
    span = (high - low).clamp(min=1).view(*index.shape, *[1] * (table.dim() - 1))
    slope = (table[high] - table[low]) / span
    wide = soft.view(*index.shape, *[1] * (table.dim() - 1)).expand(slope.shape)
    return tape.emit(sloped(wide, hard, slope))


def _bucket_effect(tape: Twins, call: Call) -> Treatment | None:
    return "cuts" if tape.live(_bucketed(call)[0]) else None


def _bucketed(call: Call) -> tuple[Any, Any]:
    if call.name == "searchsorted":
        return call.argument(1, "input"), call.argument(0, "sorted_sequence")
    return call.argument(0, "input"), call.argument(1, "boundaries")


def _bucket(tape: Twins, call: Call) -> Any:
    """Which interval x falls into: as many steps as there are boundaries below it."""
    value, edges = _bucketed(call)
    x = tape.soft(value)
    span = (edges.amax() - edges.amin()).clamp(min=torch.finfo(x.dtype).eps)
    return tape.result(call.hard(), x * (edges.shape[-1] / span))


def _scattered_effect(tape: Twins, call: Call) -> Treatment | None:
    """A constant written to the chosen class of an empty tensor: one-hot by hand."""
    choice = _choice(tape, call.argument(2, "index"))
    value = call.argument(3, "src", call.kwargs.get("value"))
    if choice is None or (isinstance(value, torch.Tensor) and value.numel() != 1):
        return None
    return None if tape.live(call.args[0]) else "cuts"


def _scattered(tape: Twins, call: Call) -> Any:
    hard, dim = call.hard(), call.argument(1, "dim")
    choice = _choice(tape, call.argument(2, "index"))
    assert choice is not None
    value = call.argument(3, "src", call.kwargs.get("value"))
    weights, scores = (t.squeeze(dim) for t in (choice.weights, choice.scores))
    if weights.shape != hard.shape:
        return tape.plain(call)
    return tape.emit(straight((weights * value).to(hard.dtype), hard), scores=scores)


CHOICE_RULES: dict[str, Entry] = {
    **entries("argmax argmin", _live, _argmax),
    **entries("max min topk", _top_effect, _top),
    **entries(
        "unsqueeze squeeze view reshape flatten contiguous clone cpu cuda", _chosen, _reshaped
    ),
    **entries("one_hot", _live, _one_hot),
    **entries("eq ne not_equal __eq__ __ne__", _equal_effect, _equal),
    **entries("mode", _chosen, _mode),
    **entries("argsort", _live, _sorted),
    **entries("embedding index_select take", _lookup_effect, _lookup),
    **entries("__getitem__", _item_effect, _item),
    **entries("stack cat", _joined_effect, _joined),
    **entries("bucketize searchsorted", _bucket_effect, _bucket),
    **entries("scatter", _scattered_effect, _scattered),
}
