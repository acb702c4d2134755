"""What torch's functions are called, and which of them want no twin."""

from __future__ import annotations

from typing import Any

from torch._ops import OpOverload, OpOverloadPacket

#: Properties that compute; all others only describe.
_COMPUTED = frozenset({"data", "T", "mT", "H", "mH", "real", "imag"})

#: They describe a tensor, change what no twin knows, or make one that depends on a shape alone.
RAW = frozenset(
    {
        "describe",
        "write",
        "size",
        "dim",
        "stride",
        "numel",
        "nelement",
        "element_size",
        "storage_offset",
        "is_contiguous",
        "is_floating_point",
        "is_complex",
        "is_signed",
        "is_pinned",
        "is_inference",
        "is_same_size",
        "get_device",
        "data_ptr",
        "__len__",
        "__repr__",
        "__str__",
        "__format__",
        "__hash__",
        "__bool__",
        "__index__",
        "ndimension",
        "is_tensor",
        "is_nonzero",
        "untyped_storage",
        "storage",
        "type_as_dtype",
        "result_type",
        "can_cast",
        "broadcast_shapes",
        "has_names",
        "requires_grad_",
        "register_hook",
        "register_post_accumulate_grad_hook",
        "retain_grad",
        "backward",
        "grad",
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "rand_like",
        "randn_like",
        "randint_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
        "new_tensor_of",
        "_is_view",
        "is_set_to",
        "allclose",
        "equal",
        "set_rng_state",
        "_set_grad_enabled",
    }
)

#: Their second argument only says what the first is to look like.
LIKE = frozenset({"to", "type_as", "view_as", "reshape_as", "expand_as"})

#: They need their integer arguments as they are.
INDEXING = frozenset(
    {
        "__getitem__",
        "gather",
        "index_select",
        "take",
        "take_along_dim",
        "embedding",
        "index_put",
        "index_add",
        "index_copy",
        "index_fill",
        "scatter",
        "scatter_add",
        "masked_select",
        "masked_scatter",
        "nll_loss",
        "cross_entropy",
    }
)

#: They return several views of one tensor, which autograd lets nobody write to.
MULTIPLE = frozenset({"unbind", "chunk", "split", "tensor_split", "split_with_sizes"})

#: They draw random numbers.
RANDOM = frozenset(
    {
        "dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "alpha_dropout",
        "feature_dropout",
        "feature_alpha_dropout",
        "bernoulli",
        "multinomial",
        "normal",
        "poisson",
        "rrelu",
        "rand",
        "randn",
        "randint",
        "randperm",
        "rand_like",
        "randn_like",
        "randint_like",
        "uniform_",
        "normal_",
        "bernoulli_",
        "random_",
        "exponential_",
        "geometric_",
        "cauchy_",
        "log_normal_",
        "gumbel_softmax",
        "fractional_max_pool2d",
    }
)

_WRITTEN = {
    "__setitem__": "__setitem__",
    "__iand__": "__and__",
    "__ior__": "__or__",
    "__ixor__": "__xor__",
    "__ilshift__": "__lshift__",
    "__irshift__": "__rshift__",
    "__ifloordiv__": "__floordiv__",
}


def name_of(func: Any) -> str:
    """The name of a function as the rules know it; properties are "data", "T" or "describe".

    Operators that are not torch's own keep their namespace: "mine::posterise".
    """
    if isinstance(func, (OpOverload, OpOverloadPacket)):
        return _operator(func)
    name: str = getattr(func, "__name__", "") or ""
    if name == "__get__":
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        return attribute if attribute in _COMPUTED else "describe"
    return "write" if name in ("__set__", "__delete__") else name


def _operator(func: OpOverload | OpOverloadPacket) -> str:
    """Of torch.ops: aten's are what torch's functions of the same name are."""
    packet = func.overloadpacket if isinstance(func, OpOverload) else func
    qualified: str = packet._qualified_op_name
    return qualified.removeprefix("aten::")


def in_place(name: str) -> bool:
    """Whether the function writes to its first argument."""
    return name in _WRITTEN or (name.endswith("_") and not name.endswith("__"))


def base_name(name: str) -> str:
    """The function that does the same without writing."""
    return _WRITTEN.get(name, name.removesuffix("_"))
