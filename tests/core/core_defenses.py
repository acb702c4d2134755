"""Defenses of a few lines around an honest model, each with a gradient that cannot be believed.

The tests that use them know the true gradient: it is that of the honest model.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Guarded(nn.Module):
    """An honest model behind a guard that is computed on the images."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def guard(self, x):
        raise NotImplementedError

    def forward(self, x):
        return self.inner(self.guard(x))


class Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1


def _gradient(kind):
    """A custom function: the identity with the backward `kind`; its forward is inherited."""

    class Masked(Identity):
        @staticmethod
        def backward(ctx, grad):
            return kind(grad)

    return Masked


Zero = _gradient(torch.zeros_like)
Flipped = _gradient(torch.neg)
Random = _gradient(torch.randn_like)
Nan = _gradient(lambda grad: grad * torch.nan)
Sparse = _gradient(lambda grad: grad * (torch.arange(grad.numel()).view_as(grad) % 50 == 0))
Clipped = _gradient(lambda grad: torch.where(grad.abs() < 1e3, 0.0, grad))
bound_early = Zero.apply


class Scale(torch.autograd.Function):
    """The tensor comes second; the shape changes; no gradient."""

    @staticmethod
    def forward(ctx, factor, x):
        return (x * factor).flatten(1)

    @staticmethod
    def backward(ctx, grad):
        return None, None


@torch.library.custom_op("core_defenses::posterise", mutates_args=())
def posterised(x: torch.Tensor, levels: int) -> torch.Tensor:
    return torch.round(x * levels) / levels


posterised.register_autograd(lambda ctx, grad: (grad * 0, None))


@torch.library.custom_op("core_defenses::cents", mutates_args=())
def in_cents(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy((x.numpy() * 100).round() / 100)


@torch.library.custom_op("core_defenses::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    """Its gradient is the true one."""
    return x / 2


halved.register_autograd(lambda ctx, grad: grad / 2)


class Untouched(torch.autograd.Function):
    """Returns its argument as it is."""

    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, grad):
        return grad * 0


class Outside(torch.autograd.Function):
    """Computes with NumPy."""

    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.round(x.numpy() * 7) / 7).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * 0


@torch.no_grad()
def without_gradient(x):
    return x * 1.0


def written(x):
    out = torch.zeros_like(x)
    out[:, :, ::2] = torch.round(x[:, :, ::2] * 15) / 15
    out[:, :, 1::2] = torch.round(x[:, :, 1::2] * 15) / 15
    return out


def rounded_in_place(x):
    x = x.clone().mul_(15)
    x.round_()
    return x.div_(15)


def overwritten(x):
    x = x.clone()
    x.copy_(torch.floor(x * 16) / 16)
    return x


def into_a_buffer(x):
    buffer = torch.empty_like(x)
    with torch.no_grad():
        buffer.copy_(x)
    return buffer + 0 * x


def into_parts_of_a_buffer(x):
    buffer = torch.zeros(x.shape, dtype=x.dtype)
    with torch.no_grad():
        buffer[:, :, ::2] = x[:, :, ::2]
        buffer[:, :, 1::2].add_(x[:, :, 1::2])
    return buffer


def set_off(x):
    torch.set_grad_enabled(False)
    try:
        return x * 1.0
    finally:
        torch.set_grad_enabled(True)


def inferred(x):
    with torch.inference_mode():
        return x * 1.0


def hooked(x):
    if x.requires_grad:
        x = x * 1
        x.register_hook(lambda grad: grad * 0)
    return x


def unhinged(x):
    """Its root has no finite slope where the pixel is as dark as can be."""
    return x + 0 * (x - x).sqrt()


def leaves(x):
    return torch.tensor(np.round(x.detach().cpu().numpy() * 15) / 15)


def through_images(x):
    from torchvision.transforms.functional import to_pil_image, to_tensor

    images = [to_tensor(to_pil_image(one)) for one in x.float().clamp(0, 1)]
    return torch.stack(images).to(x)


def purified(x):
    """A step towards confidence, as test-time defenses take."""
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_(True)
        loss = (z.flatten(1) ** 2).sum()
        (slope,) = torch.autograd.grad(loss, z)
    return (z - 0.01 * slope).detach()


def purified_by_entropy(x):
    """Steps towards certainty, the certainty being that of a saturated softmax."""
    y = x.detach()
    with torch.enable_grad():
        for _ in range(2):
            y.requires_grad_(True)
            p = torch.softmax(500 * y.flatten(1), 1)
            entropy = -(p * p.clamp(min=1e-9).log()).sum()
            (slope,) = torch.autograd.grad(entropy, y)
            y = (y - 0.01 * slope.sign()).clamp(0, 1).detach()
    return y


def purified_backwards(x):
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_(True)
        (z.flatten(1) ** 2).sum().backward()
    return (z - 0.01 * z.grad).detach()


def by_bits(x):
    return ((x * 255).to(torch.uint8) & 0xF0).to(x.dtype) / 255


def by_shifts(x):
    return (((x * 255).to(torch.int64) >> 4) << 4).to(x.dtype) / 255


def by_table(x):
    table = torch.linspace(0, 1, 256, dtype=x.dtype)
    return table[(x * 255).long()]


def by_levels(x):
    levels = torch.linspace(0, 1, 16, dtype=x.dtype)
    return levels[(x[..., None] - levels).abs().argmin(-1)]


def by_buckets(x):
    return torch.bucketize(x, torch.linspace(0, 1, 17, dtype=x.dtype)).to(x.dtype) / 17


def _masked_writing(x):
    out = torch.zeros_like(x)
    out[x >= 0.5] = 1
    return out


def thermometer(x):
    steps = torch.arange(1, 16, dtype=x.dtype) / 16
    return (x[..., None] > steps).to(x.dtype).mean(-1)


#: Guards whose repaired gradient is the honest model's but for a factor.
STRAIGHT = {
    "round": lambda x: torch.round(x * 15) / 15,
    "floor": lambda x: torch.floor(x * 16) / 16,
    "ceil": lambda x: (x * 16).ceil() / 16,
    "trunc": lambda x: torch.trunc(x * 16) / 16,
    "fix": lambda x: torch.fix(x * 16) / 16,
    "fake_quantize": lambda x: torch.fake_quantize_per_tensor_affine(
        x.detach().float(), 1 / 15, 0, 0, 15
    ).to(x),
    "int cast": lambda x: (x * 15).int().to(x.dtype) / 15,
    "byte and back": lambda x: (x * 255).to(torch.uint8).to(x.dtype) / 255,
    "type": lambda x: (x * 15).type(torch.int64).type(x.dtype) / 15,
    "floor division": lambda x: (x // 0.0625) * 0.0625,
    "rounding mode": lambda x: torch.div(x, 0.0625, rounding_mode="floor") * 0.0625,
    "remainder": lambda x: x - x % 0.0625,
    "fraction": lambda x: x - (16 * x).frac() / 16,
    "bits": by_bits,
    "shifts": by_shifts,
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
    "tensor of a list": lambda x: torch.stack([one.detach() for one in x]),
    "no_grad": without_gradient,
    "no_grad, into a buffer": into_a_buffer,
    "no_grad, into parts of a buffer": into_parts_of_a_buffer,
    "set_grad_enabled": set_off,
    "inference_mode": inferred,
    "written": written,
    "in place": rounded_in_place,
    "overwritten": overwritten,
    "zero": Zero.apply,
    "bound early": lambda x: bound_early(x),
    "flipped": Flipped.apply,
    "random": Random.apply,
    "nan": Nan.apply,
    "sparse": Sparse.apply,
    "clipped": Clipped.apply,
    "second, other shape": lambda x: Scale.apply(2.0, x).view_as(x) / 2,
    "untouched": Untouched.apply,
    "outside": Outside.apply,
    "own operator": lambda x: posterised(x, 15),
    "own operator, outside": lambda x: in_cents(x),
    "aten": lambda x: torch.ops.aten.round.default(x * 15) / 15,
    "aten cast": lambda x: (
        torch.ops.aten._to_copy.default(x * 255, dtype=torch.uint8).to(x.dtype) / 255
    ),
    "hooked": hooked,
    "unhinged": unhinged,
    "numpy": leaves,
    "purifier": purified,
    "purifier by entropy": purified_by_entropy,
    "purifier backwards": purified_backwards,
    "images": through_images,
    "own straight-through": lambda x: x + (torch.round(x * 15) / 15 - x).detach(),
}

#: Guards whose repaired gradient points the same way, no more.
SOFT = {
    "table": by_table,
    "levels": by_levels,
    "thermometer": thermometer,
    "hard threshold": lambda x: torch.where((x - 0.5).abs() < 0.15, 0.5, x).to(x.dtype),
    "hard threshold by product": lambda x: x * (x >= 0.3),
    "hard threshold by filling": lambda x: x.masked_fill(x < 0.3, 0.0),
    "sign": lambda x: (x - 0.5).sign(),
    "binary": lambda x: (x > 0.5).to(x.dtype),
    "binary by where": lambda x: torch.where(x > 0.5, 1.0, 0.0).to(x.dtype),
    "binary by filling": lambda x: torch.zeros_like(x).masked_fill(x >= 0.5, 1.0),
    "binary by writing": lambda x: _masked_writing(x),
    "heaviside": lambda x: torch.heaviside(x - 0.5, torch.ones((), dtype=x.dtype)),
    "bool": lambda x: (2 * x).int().bool().to(x.dtype),
    "band": lambda x: ((x > 0.25) & ~(x <= 0.5)).to(x.dtype),
    "steep sigmoid": lambda x: torch.sigmoid(200 * (x - 0.5)),
    "steep tanh": lambda x: torch.tanh(500 * (x - 0.5)),
    "hard saturation": lambda x: (1000 * (x - 0.5)).clamp(0, 1),
    "buckets": lambda x: (
        torch.bucketize(x, torch.linspace(0, 1, 17, dtype=x.dtype)).to(x.dtype) / 17
    ),
}


def _one_hot(z):
    return F.one_hot(z.argmax(1), z.shape[1]).to(z.dtype)


def _scattered(z):
    return torch.zeros_like(z).scatter_(1, z.argmax(1, keepdim=True), 1.0)


#: Heads: what is made of the honest logits.
HEADS = {
    "softmax": lambda z: (1e4 * z).softmax(1),
    "sigmoid": lambda z: torch.sigmoid(1e4 * z),
    "one-hot": _one_hot,
    "one-hot by scatter": _scattered,
    "one-hot by comparison": lambda z: (z.argmax(1)[:, None] == torch.arange(z.shape[1])).to(
        z.dtype
    ),
    "one-hot by max": lambda z: F.one_hot(z.max(1).indices, z.shape[1]).to(z.dtype) * 10,
    "one-hot of topk": lambda z: F.one_hot(z.topk(1).indices[:, 0], z.shape[1]).to(z.dtype),
    "one-hot of eye": lambda z: torch.eye(z.shape[1], dtype=z.dtype)[z.argmax(1)],
    "detached": lambda z: z.detach() * 1,
    "ranks": lambda z: z.argsort(1).argsort(1).to(z.dtype),
}


class By(Guarded):
    """Guarded by a function."""

    def __init__(self, inner: nn.Module, function) -> None:
        super().__init__(inner)
        self.function = function

    def guard(self, x):
        return self.function(x)


class Headed(nn.Module):
    """A function of the honest logits."""

    def __init__(self, inner: nn.Module, function) -> None:
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x):
        return self.function(self.inner(x))
