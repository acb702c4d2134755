"""What torch's random functions return where randomness is replaced by its expectation.

Each returns the tensor, and what is known of it: the law that its entries would have been drawn
from, or the chance that a 0 or 1 would have been 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from auditor.surrogate.expectation.laws import Chance, Kind, Known, Law

Drawn: TypeAlias = "tuple[torch.Tensor, Known | None]"
#: Called with the function, its arguments and its keyword arguments.
Draw: TypeAlias = Callable[[Any, tuple[Any, ...], dict[str, Any]], Drawn]


def _filled(tensor: torch.Tensor, kind: Kind, shift: float, scale: float) -> Drawn:
    law = Law(kind, shift, scale)
    with torch.no_grad():
        tensor.fill_(law.mean)
    return tensor, law if tensor.is_floating_point() else None


def _factory(kind: Kind) -> Draw:
    """rand, randn: sizes in any form."""

    def make(func: Any, args: Any, kwargs: Any) -> Drawn:
        kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
        return _filled(torch.zeros(*args, **kwargs), kind, 0.0, 1.0)

    return make


def _like(kind: Kind) -> Draw:
    def make(func: Any, args: Any, kwargs: Any) -> Drawn:
        kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
        return _filled(torch.zeros_like(*args, **kwargs), kind, 0.0, 1.0)

    return make


def _argument(args: Any, kwargs: Any, place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _uniform_(func: Any, args: Any, kwargs: Any) -> Drawn:
    low, high = (_argument(args, kwargs, i + 1, n, float(i)) for i, n in enumerate(("from", "to")))
    return _filled(args[0], "uniform", float(low), float(high - low))


def _normal_(func: Any, args: Any, kwargs: Any) -> Drawn:
    mean, std = (_argument(args, kwargs, i + 1, n, float(i)) for i, n in enumerate(("mean", "std")))
    return _filled(args[0], "normal", float(mean), float(std))


def _normal(func: Any, args: Any, kwargs: Any) -> Drawn:
    mean, std = (_argument(args, kwargs, i, n, float(i)) for i, n in enumerate(("mean", "std")))
    size = _argument(args, kwargs, 2, "size", None)
    if size is None:
        like = mean if isinstance(mean, torch.Tensor) else std
        size = (torch.as_tensor(mean) + torch.as_tensor(std)).shape
    else:
        like = torch.zeros((), device=kwargs.get("device"))
    out = mean + like.new_zeros(size)
    return out, Law("normal", mean, std)


def _exponential_(func: Any, args: Any, kwargs: Any) -> Drawn:
    rate = float(_argument(args, kwargs, 1, "lambd", 1.0))
    return _filled(args[0], "exponential", 0.0, 1 / rate)


def _constant_(value: Callable[..., float]) -> Draw:
    """In place, a number that depends on the parameters."""

    def fill(func: Any, args: Any, kwargs: Any) -> Drawn:
        parameters = [*args[1:], *(v for k, v in kwargs.items() if k != "generator")]
        with torch.no_grad():
            args[0].fill_(value(*parameters))
        return args[0], None

    return fill


def _middle(low: int, high: int | None = None) -> int:
    """Of low, ..., high - 1, or of 0, ..., low - 1."""
    return (low - 1) // 2 if high is None else (low + high - 1) // 2


def _randint(func: Any, args: Any, kwargs: Any) -> Drawn:
    kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
    bounds = [kwargs.pop(key) for key in ("low", "high") if key in kwargs]
    bounds = [*[one for one in args if isinstance(one, int)], *bounds]
    size = next((one for one in args if isinstance(one, (tuple, list))), kwargs.pop("size", ()))
    middle = torch.full(tuple(size), _middle(*bounds), **{"dtype": torch.int64, **kwargs})
    return middle, None


def _randint_like(func: Any, args: Any, kwargs: Any) -> Drawn:
    bounds = [*args[1:], *(kwargs.pop(key) for key in ("low", "high") if key in kwargs)]
    return torch.full_like(args[0], _middle(*bounds), **kwargs), None


def _randperm(func: Any, args: Any, kwargs: Any) -> Drawn:
    kwargs = {key: value for key, value in kwargs.items() if key != "generator"}
    return torch.arange(*args, **kwargs), None


def _coin(func: Any, args: Any, kwargs: Any) -> Drawn:
    p = _argument(args, kwargs, 1, "p", None)
    p = args[0].clone() if p is None else torch.full_like(args[0], p)
    return p, Chance(p)


def _coin_(func: Any, args: Any, kwargs: Any) -> Drawn:
    target, p = args[0], _argument(args, kwargs, 1, "p", 0.5)
    if not isinstance(p, torch.Tensor):
        kind = target.dtype if target.is_floating_point() else torch.get_default_dtype()
        p = torch.full_like(target, p, dtype=kind)
    target.copy_(p if target.is_floating_point() else p >= 0.5)
    return target, Chance(p.expand(target.shape))


def _multinomial(func: Any, args: Any, kwargs: Any) -> Drawn:
    """The likeliest, the likeliest few, or with replacement the distribution's quantiles."""
    weights, count = args[0], int(_argument(args, kwargs, 1, "num_samples", 1))
    if count == 1:
        return weights.argmax(-1, keepdim=True), None
    if not _argument(args, kwargs, 2, "replacement", False):
        return weights.topk(count, dim=-1).indices, None
    share = weights.cumsum(-1) / weights.sum(-1, keepdim=True)
    places = (torch.arange(count, dtype=share.dtype, device=share.device) + 0.5) / count
    found = torch.searchsorted(share, places.expand(*share.shape[:-1], count).contiguous())
    return found.clamp(max=weights.shape[-1] - 1), None


def _gumbel_softmax(func: Any, args: Any, kwargs: Any) -> Drawn:
    logits, tau = args[0], float(_argument(args, kwargs, 1, "tau", 1.0))
    hard = bool(_argument(args, kwargs, 2, "hard", False))
    dim = int(_argument(args, kwargs, 4, "dim", -1))
    if hard:
        p = logits.softmax(dim)
        return p, Chance(p)
    return (logits / tau / Law("gumbel", 0.0, 1 / tau).damping(2)).softmax(dim), None


def _as_deployed(place: int, *names: str) -> Draw:
    """The function with its flag for training off."""

    def call(func: Any, args: Any, kwargs: Any) -> Drawn:
        if len(args) > place:
            return func(*args[:place], False, *args[place + 1 :], **kwargs), None
        name = next((one for one in names if one in kwargs), names[0])
        return func(*args, **{**kwargs, name: False}), None

    return call


def _attention(func: Any, args: Any, kwargs: Any) -> Drawn:
    if len(args) > 4:
        return func(*args[:4], 0.0, *args[5:], **kwargs), None
    return func(*args, **{**kwargs, "dropout_p": 0.0}), None


def _itself(func: Any, args: Any, kwargs: Any) -> Drawn:
    """The mean of a Poisson or a gamma number is its parameter."""
    return args[0].clone(), None


_DROPOUTS = (
    "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout"
    " dropout_ alpha_dropout_ feature_dropout_ feature_alpha_dropout_"
)
SOURCES: dict[str, Draw] = {
    "rand": _factory("uniform"),
    "randn": _factory("normal"),
    "rand_like": _like("uniform"),
    "randn_like": _like("normal"),
    "uniform_": _uniform_,
    "normal_": _normal_,
    "normal": _normal,
    "exponential_": _exponential_,
    "cauchy_": _constant_(lambda median=0.0, sigma=1.0: median),
    "log_normal_": _constant_(lambda mean=1.0, std=2.0: math.exp(mean + std * std / 2)),
    "geometric_": _constant_(lambda p: round(1 / p)),
    "randint": _randint,
    "randint_like": _randint_like,
    "randperm": _randperm,
    "bernoulli": _coin,
    "bernoulli_": _coin_,
    "multinomial": _multinomial,
    "gumbel_softmax": _gumbel_softmax,
    **dict.fromkeys(_DROPOUTS.split(), _as_deployed(2, "training", "train")),
    "rrelu": _as_deployed(3, "training"),
    "rrelu_": _as_deployed(3, "training"),
    "scaled_dot_product_attention": _attention,
    "poisson": _itself,
    "_standard_gamma": _itself,
}
