"""A zoo of odd but honest models: each has the number of the plain one, and is never suspected.

All compute the three stripes of `system_stripes` and are written as deployed models are: with
casts, hooks, caches, compiled or scripted code. None hides its gradient.
"""

from __future__ import annotations

import pytest
from system_stripes import CONFIG, audited, codes, numbers

#: Name to the source of a model, whose `make` is its factory.
ZOO = {
    "plain": """
def make():
    return Stripes()
""",
    "in place": """
class Odd(Stripes):
    def forward(self, x):
        x.mul_(2).sub_(1)
        return super().forward(F.relu(x.add_(1), inplace=True))


def make():
    return Odd()
""",
    "complex weights": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.full((9, 5), 1j, dtype=torch.complex64))

    def forward(self, x):
        turned = torch.fft.irfft2(torch.fft.rfft2(x) * self.filter / 1j, s=x.shape[-2:])
        return super().forward(turned)


def make():
    return Odd()
""",
    "half": """
def make():
    return Stripes().half()
""",
    "bfloat16 between two casts": """
class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(81, 3, bias=False)
        with torch.no_grad():
            band = torch.arange(81) % 9 // 3
            self.inner.weight.copy_(20 / 27 * F.one_hot(band, 3).T)
        self.inner.bfloat16()

    def forward(self, x):
        return self.inner(x.flatten(1).bfloat16()).float()


def make():
    return Odd()
""",
    "autocast": """
class Odd(Stripes):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = F.linear(super().forward(x), torch.eye(3, device=x.device))
        return z.float()


def make():
    return Odd()
""",
    "float64": """
def make():
    return Stripes().double()
""",
    "constants in float64": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5], dtype=torch.float64))

    def forward(self, x):
        return super().forward(x - self.mean[:, None, None])


def make():
    return Odd()
""",
    "reentrant checkpoint": """
from torch.utils.checkpoint import checkpoint


class Odd(Stripes):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=True)


def make():
    return Odd()
""",
    "checkpoint": """
from torch.utils.checkpoint import checkpoint


class Odd(Stripes):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def make():
    return Odd()
""",
    "hooks": """
def make():
    model = nn.Sequential(nn.Identity(), Stripes())
    model[0].register_forward_hook(lambda module, given, out: out * 1)
    model[0].register_full_backward_hook(lambda *seen: None)
    model.register_forward_pre_hook(lambda module, given: given)
    return model
""",
    "hooks in place": """
def make():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), Stripes())
    model[0].register_forward_hook(lambda module, given, out: out.mul_(1))
    model[1].register_full_backward_hook(lambda *seen: None)
    return model
""",
    "LSTM": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(9, 4, batch_first=True)

    def forward(self, x):
        rows, _ = self.rnn(x[:, 0])
        return super().forward(x) + 1e-3 * rows[:, -1, :3]


def make():
    torch.manual_seed(0)
    return Odd()
""",
    "transformer": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(9, 3, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        return super().forward(x) + 1e-3 * self.encoder(x[:, 0])[:, 0, :3]


def make():
    torch.manual_seed(0)
    return Odd()
""",
    "vmap": """
class Odd(Stripes):
    def one(self, image):
        return self.scale * image.mean(0).reshape(9, 3, 3).mean((0, 2))

    def forward(self, x):
        return torch.vmap(self.one)(x)


def make():
    return Odd()
""",
    "functional call": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.inner = Stripes()

    def forward(self, x):
        return torch.func.functional_call(self.inner, {"scale": self.scale}, (x,))


def make():
    return Odd()
""",
    "compiled": """
def make():
    return torch.compile(Stripes(), backend="eager")
""",
    "scripted": """
class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return self.scale * x.mean(1).reshape(x.shape[0], 9, 3, 3).mean((1, 3))


def make():
    return torch.jit.script(Plain())
""",
    "traced": """
def make():
    return torch.jit.trace(nn.Sequential(nn.Flatten(), WEIGHTS), torch.rand(2, 1, 9, 9))


WEIGHTS = nn.Linear(81, 3, bias=False)
with torch.no_grad():
    WEIGHTS.weight.copy_(20 / 27 * F.one_hot(torch.arange(81) % 9 // 3, 3).T)
""",
    "quantised weights": """
class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        weight = 20 / 27 * F.one_hot(torch.arange(81) % 9 // 3, 3).T
        self.register_buffer("weight", torch.quantize_per_tensor(weight, 20 / 27, 0, torch.qint8))

    def forward(self, x):
        return F.linear(x.flatten(1), self.weight.dequantize())


def make():
    return Odd()
""",
    "sparse weights": """
class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        weight = 20 / 27 * F.one_hot(torch.arange(81) % 9 // 3, 3).T
        self.register_buffer("weight", weight.to_sparse())

    def forward(self, x):
        return torch.sparse.mm(self.weight, x.flatten(1).T).T


def make():
    return Odd()
""",
    "DataParallel": """
def make():
    return nn.DataParallel(Stripes())
""",
    "tied weights": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3))
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(super().forward(x)))


def make():
    return Odd()
""",
    "lazy layers": """
class Head(nn.LazyLinear):
    def reset_parameters(self):
        if self.in_features:
            with torch.no_grad():
                self.weight.copy_(20 * torch.eye(3))
                self.bias.zero_()


def make():
    return nn.Sequential(nn.AvgPool2d((9, 3)), nn.Flatten(), Head(3))
""",
    "caches": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def forward(self, x):
        self.features = super().forward(x)
        self.kept.setdefault(len(x), torch.ones(len(x), 1, dtype=x.dtype))
        if len(x) not in getattr(self, "answers", {}):
            self.answers = {**getattr(self, "answers", {}), len(x): self.features.detach().clone()}
        out = self.answers[len(x)]
        if torch.is_grad_enabled():
            return self.features * self.kept[len(x)]
        return out.copy_(self.features)


def make():
    return Odd()
""",
    "prints and logs": """
import logging


class Odd(Stripes):
    log = logging.getLogger("odd")

    def forward(self, x):
        print("a batch of", len(x))
        self.log.warning("a batch of %d", len(x))
        return super().forward(x)


def make():
    return Odd()
""",
    "forks": """
class Odd(Stripes):
    def forward(self, x):
        parts = [torch.jit.fork(super(Odd, self).forward, part) for part in x.split(32)]
        return torch.cat([torch.jit.wait(part) for part in parts])


def make():
    return Odd()
""",
    "threads and locks": """
import threading
from concurrent.futures import ThreadPoolExecutor


class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.lock, self.pool = threading.Lock(), ThreadPoolExecutor(1)

    def forward(self, x):
        with self.lock:
            return self.pool.submit(super().forward, x).result()


def make():
    return Odd()
""",
    "branches on its state": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        if self.bn.weight is None or not isinstance(self.bn, nn.BatchNorm2d):
            raise RuntimeError("no BatchNorm")
        if self.conv.bias is not None or self.conv.weight.item() != 1:
            raise RuntimeError("another convolution")
        return super().forward(self.bn(self.conv(x)))


def make():
    return Odd().eval()
""",
    "cuts batches": """
class Odd(Stripes):
    def forward(self, x):
        short = -len(x) % 8
        x = torch.cat([x, x.new_zeros(short, *x.shape[1:])])
        parts = [super(Odd, self).forward(part) for part in x.split(8)]
        return torch.cat(parts)[: len(x) - short]


def make():
    return Odd()
""",
    "even batches": """
class Odd(Stripes):
    def forward(self, x):
        return super().forward(x.view(2, -1, 1, 9, 9).flatten(0, 1))


def make():
    return Odd()
""",
    "weight norm": """
def make():
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(20 * torch.eye(3))
    head = nn.utils.parametrizations.weight_norm(head)
    return nn.Sequential(nn.AvgPool2d((9, 3)), nn.Flatten(), head)
""",
    "weight norm of the older kind": """
def make():
    head = nn.Linear(3, 3, bias=False)
    with torch.no_grad():
        head.weight.copy_(20 * torch.eye(3))
    return nn.Sequential(nn.AvgPool2d((9, 3)), nn.Flatten(), nn.utils.weight_norm(head)).half()
""",
    "spectral norm": """
class Odd(Stripes):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3))
        self.head = nn.utils.parametrizations.spectral_norm(self.head)

    def forward(self, x):
        return self.head(super().forward(x))


def make():
    return Odd()
""",
    "own backward pass": """
class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope


class Odd(Stripes):
    def forward(self, x):
        return super().forward(Square.apply(x.clamp(min=1e-6).sqrt()))


def make():
    return Odd()
""",
    "seeds torch": """
class Odd(Stripes):
    def forward(self, x):
        torch.manual_seed(0)
        return super().forward(x) + 1e-3 * torch.rand(3)


def make():
    return Odd()
""",
}

#: Checks that look at the gradient and are quick.
CHECKS = "".join(
    f'\n[[check]]\nuse = "{name}"\n'
    for name in ("determinism", "batch-dependence", "output-kind", "operation-trace", "staircase",
                 "zero-gradients", "finite-differences", "loss-repair")
)  # fmt: skip

#: What pre-flight may say of some, none of which doubts the number.
SAID = {
    "bfloat16 between two casts": ["computed-as-is"],
    "lazy layers": ["loading"],
    "even batches": ["small-batches"],
    "branches on its state": ["computed-as-is"],
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ZOO)
def test_an_honest_model_has_its_number(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _ = audited(ZOO[name], CONFIG.replace("check  = []", "") + CHECKS)
    assert numbers(model) == pytest.approx([1.0, 0.5, 0.5], abs=0.01)
    assert codes(model)[: len(SAID.get(name, []))] == SAID.get(name, [])
    assert "output-kind" not in codes(model)
    assert model["masking"]["verdict"] not in ("suspected", "confirmed"), model["masking"]
    assert [check for check in model["checks"] if check["status"] == "error"] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_has_its_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _ = audited("def make():\n    return torch.compile(Stripes(), dynamic=True)\n")
    assert numbers(model) == [1.0, 0.5, 0.5]
    assert codes(model) == []
