"""Honest controls: nothing hides the gradient, though much of it looks as if something did."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from backbones import After, Before, network
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint_sequential


class Plain(nn.Module):
    """A network as it is."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        return z


class LogSoftmax(After):
    """Logarithms of probabilities."""

    def change(self, z: Tensor) -> Tensor:
        """log softmax."""
        return F.log_softmax(z, 1)


class Softmax(After):
    """Probabilities, declared as such."""

    def change(self, z: Tensor) -> Tensor:
        """softmax."""
        return torch.softmax(z, 1)


class Affine(After):
    """Logits times a moderate factor, plus a bias."""

    def __init__(self, dataset: str, backbone: str, factor: float = 5, bias: float = 0) -> None:
        super().__init__(dataset, backbone)
        self.factor, self.bias = factor, bias

    def change(self, z: Tensor) -> Tensor:
        """factor * z + bias."""
        return self.factor * z + self.bias


class StableShift(After):
    """The usual shift by the largest logit, detached as in many implementations of softmax."""

    def change(self, z: Tensor) -> Tensor:
        """z - max z; softmax does not see the shift, and neither do differences of logits."""
        return z - z.amax(1, keepdim=True).detach()


class Monitored(nn.Module):
    """argmax, round and no_grad in a branch that counts answers and feeds nothing."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.register_buffer("seen", torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        with torch.no_grad():
            self.brightness = torch.round(x.mean() * 255)
        self.seen += F.one_hot(z.argmax(1), 10).sum(0)
        return z


class Blur(Before):
    """A fixed blur."""

    def change(self, x: Tensor) -> Tensor:
        """A 3 x 3 binomial filter."""
        row = torch.tensor([1.0, 2.0, 1.0]).to(x) / 4
        kernel = (row[:, None] * row).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, groups=x.shape[1])


class Normalised(Before):
    """Normalised and, for a network trained on pixels, brought back."""

    def change(self, x: Tensor) -> Tensor:
        """(x - mean) / std, then the affine layer that undoes it."""
        mean, std = 0.286, 0.353
        return (x - mean) / std * std + mean


class EnsembleMean(nn.Module):
    """The mean logits of both backbones."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net, self.other = network(dataset, backbone), network(dataset, "undefended")

    def forward(self, x: Tensor) -> Tensor:
        """Mean logits."""
        z: Tensor = (self.net(x) + self.other(x)) / 2
        return z


class Median(Before):
    """A median filter whose gradient goes to the pixel in the middle (arXiv:1704.01155)."""

    def change(self, x: Tensor) -> Tensor:
        """The median of a pixel and its four neighbours."""
        p = F.pad(x, (1, 1, 1, 1), mode="replicate")
        near = [p[..., 1:-1, 1:-1], p[..., :-2, 1:-1], p[..., 2:, 1:-1], p[..., 1:-1, :-2],
                p[..., 1:-1, 2:]]  # fmt: skip
        return torch.stack(near).median(0).values


class Resize(Before):
    """Smaller and larger again, differentiably."""

    def change(self, x: Tensor) -> Tensor:
        """Bilinear, to three quarters and back."""
        small = F.interpolate(x, scale_factor=0.75, mode="bilinear", align_corners=False)
        return F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=False)


class LeakyClamp(Before):
    """A clamp of the pixels' range that leaks outside it."""

    def change(self, x: Tensor) -> Tensor:
        """The slope is 1 between 0.05 and 0.95, a tenth elsewhere."""
        inside = x.clamp(0.05, 0.95)
        return inside + 0.1 * (x - inside)


class SmoothActivations(nn.Module):
    """Another smooth activation in the place of ReLU."""

    def __init__(self, dataset: str, backbone: str, beta: float = 10.0) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        for name, layer in self.net.named_children():
            if isinstance(layer, nn.ReLU):
                setattr(self.net, name, nn.Softplus(beta))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        return z


class SoftVote(nn.Module):
    """Mean probabilities of copies with the same noise every time, as logarithms."""

    def __init__(self, dataset: str, backbone: str, sigma: float = 0.05, copies: int = 4) -> None:
        super().__init__()
        self.net, self.sigma, self.copies = network(dataset, backbone), sigma, copies
        shape = (copies, 1, 3, 32, 32) if dataset == "cifar10" else (copies, 1, 1, 28, 28)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise)

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the mean probabilities."""
        z = self.net((x + self.sigma * self.noise).flatten(0, 1))
        p = F.log_softmax(z, 1).view(self.copies, len(x), -1)
        return p.logsumexp(0)


class Checkpointed(nn.Module):
    """Activations are computed again going backward, to save memory."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        layers = nn.Sequential(*self.net.children())
        z: Tensor = checkpoint_sequential(layers, 2, x, use_reentrant=False)
        return z


class _Gamma(torch.autograd.Function):
    """x ** 0.9 with its gradient written by hand, and right."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=1e-3) ** 0.9

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope * 0.9 * x.clamp(min=1e-3) ** -0.1


class RightFunction(Before):
    """A hand-written operator with the right gradient."""

    def change(self, x: Tensor) -> Tensor:
        """A tone curve."""
        return _Gamma.apply(x)


class WeightNormalised(nn.Module):
    """Weights as direction and length (Salimans & Kingma 2016, arXiv:1602.07868)."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        for layer in self.net.children():
            if isinstance(layer, nn.Linear):
                parametrizations.weight_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        with parametrize.cached():
            z: Tensor = self.net(x)
        return z


class Permuted(Before):
    """Pixels shuffled by a fixed permutation, and ordered again by indices."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        count = 3072 if dataset == "cifar10" else 784
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        self.register_buffer("order", order)

    def change(self, x: Tensor) -> Tensor:
        """The image itself, by way of its permuted pixels."""
        flat = x.flatten(1)[:, self.order]
        return flat[:, self.order.argsort()].view_as(x)


class UnusedTraining(Before):
    """A BatchNorm in training mode that watches the images; its output is not used."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.watch = nn.BatchNorm2d(3 if dataset == "cifar10" else 1)

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        self.watch.train()(x.detach())
        return x


class StraightThrough(Before):
    """8-bit inputs as quantisation-aware training writes them: rounded, the gradient let through.

    Jacob et al. 2018, arXiv:1712.05877.
    """

    def change(self, x: Tensor) -> Tensor:
        """The nearest of 64 grey levels; inside its range `fake_quantize` passes slopes on."""
        return torch.fake_quantize_per_tensor_affine(x, 1 / 63, 0, 0, 63)


class RoundedWeights(nn.Module):
    """Weights are rounded in every call; the way from pixels to logits rounds nothing."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        with torch.no_grad():
            weights = {
                name: torch.round(w / w.abs().amax() * 127) / 127 * w.abs().amax()
                for name, w in self.net.named_parameters()
            }
        z: Tensor = torch.func.functional_call(self.net, weights, (x,))
        return z


class HarmlessHook(Before):
    """A hook that scales the gradient down; its direction is what it was."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        y = x * 1.0
        if y.requires_grad:
            y.register_hook(lambda g: 1e-3 * g)
        return y


class FaintNoise(Before):
    """Noise of a hundredth of a grey level: answers vary in the last digits."""

    def change(self, x: Tensor) -> Tensor:
        """The image with its noise."""
        return x + 4e-5 * torch.randn_like(x)


class IdleRandomness(Before):
    """Random numbers are drawn and thrown away."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x + 0 * torch.randn_like(x)


class NoisyScores(nn.Module):
    """Noise on the scores against attacks by queries; their gradient is what it was.

    Byun et al. 2022, arXiv:2104.12609, put it on the image; here it is put on the logits.
    """

    def __init__(self, dataset: str, backbone: str, sigma: float = 0.5) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Logits with noise."""
        z: Tensor = self.net(x)
        return z + self.sigma * torch.randn_like(z)
