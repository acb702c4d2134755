"""Train the development models: those on which settings of attacks are chosen.

    python benchmarks/development_models.py --data FOLDER --out FOLDER

Attacks are judged on the models of the Fashion-MNIST example; settings chosen on those same models
would flatter them. So these here differ from them in architecture, data and training, and the
Fashion-MNIST images of `held_out` are none of the thousand that the example ships. Each model is
written to `OUT/NAME.safetensors` as soon as it is trained, the most useful first; all of them take
about 20 minutes on one thread. Afterwards:

    from development_models import load, held_out
    module, (x, y) = load("fashion-trades", OUT), held_out("fashion-trades", DATA)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import HERE
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

DATA_HELP = (
    "folder with SET-train.npz and SET-test.npz for the sets fashion-mnist, mnist and cifar10 "
    "(x: uint8 [N, H, W] or [N, H, W, 3], y: [N]); a set without these files is read by "
    "torchvision from the folder, and downloaded to it if needed"
)
#: Sets by name in file names: the name in torchvision.
SETS = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST", "cifar10": "CIFAR10"}
SHIPPED = HERE.parent / "examples" / "fashion_mnist" / "data" / "test-1000.npz"
BATCH = 128
TRADES_WEIGHT = 6.0  # of the divergence, as in the paper


def strided_net() -> nn.Module:
    """Build a smooth CNN, (B, 1, 28, 28) -> (B, 10): strided convolutions, GroupNorm, GELU."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.GELU(),  # (B, 32, 14, 14)
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.GELU(),  # (B, 64, 7, 7)
        nn.Conv2d(64, 64, 3, stride=2), nn.GroupNorm(8, 64), nn.GELU(),  # (B, 64, 3, 3)
        nn.Flatten(), nn.Linear(64 * 9, 10),
    )  # fmt: skip


def plain_relu_net() -> nn.Module:
    """Build a CNN, (B, 1, 28, 28) -> (B, 10), without normalization: that of arXiv:2001.03994."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),  # (B, 16, 14, 14)
        nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 7, 7)
        nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def colour_net() -> nn.Module:
    """Build a BatchNorm CNN, (B, 3, 32, 32) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(2),  # (B, 64, 8, 8)
        nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 16, 10),
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How a model is made. `epsilon` is the l-infinity bound of its training; 0: undefended."""

    data: str
    build: Callable[[], nn.Module]
    seed: int
    epochs: int
    images: int  # the first so many of the training set
    epsilon: float = 0.0
    steps: int = 0
    trades: bool = False


PLANS = {
    "fashion-trades": Plan("fashion-mnist", strided_net, 11, 4, 30_000, 16 / 255, 7, trades=True),
    "cifar-adversarial": Plan("cifar10", colour_net, 12, 6, 30_000, 8 / 255, 2),
    "mnist-adversarial": Plan("mnist", plain_relu_net, 13, 5, 20_000, 0.3, 7),
    "cifar-plain": Plan("cifar10", colour_net, 14, 4, 50_000),
    "fashion-plain": Plan("fashion-mnist", strided_net, 15, 5, 50_000),
}


def load(name: str, folder: Path | str) -> nn.Module:
    """The trained model `name`, in evaluation mode, from `folder`/`name`.safetensors."""
    model = PLANS[name].build()
    model.load_state_dict(load_file(Path(folder) / f"{name}.safetensors"))
    return model.eval().requires_grad_(False)


def held_out(name: str, folder: Path | str, count: int = 500) -> tuple[Tensor, Tensor]:
    """Test images of a model, float32 (count, C, H, W) in [0, 1], and labels, int64 (count,).

    They are the first of the test set, those that the Fashion-MNIST example ships left out.
    """
    data = PLANS[name].data
    x, y = _read(data, "test", Path(folder))
    with np.load(SHIPPED) as shipped:
        left_out = shipped["index"] if data == "fashion-mnist" else []
    rows = np.setdiff1d(np.arange(len(x)), left_out)[:count]
    return _tensors(x[rows], y[rows])


def _read(data: str, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    file = folder / f"{data}-{split}.npz"
    if file.is_file():
        with np.load(file) as arrays:
            return arrays["x"], arrays["y"]
    from torchvision import datasets  # needed only by those without the npz files

    found = getattr(datasets, SETS[data])(str(folder), train=split == "train", download=True)
    return np.asarray(found.data), np.asarray(found.targets)


def _tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(x if x.ndim == 4 else x[..., None]).movedim(3, 1)
    return images.contiguous().float().div(255), torch.from_numpy(y.astype(np.int64))


def ascend(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, epsilon: float, steps: int
) -> Tensor:
    """Projected ascent of `loss` by the gradient's sign from `start`, in ball and box."""
    low, high = (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1)
    points = torch.clamp(start, low, high)
    for _ in range(steps):
        points.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(points), points)
        points = torch.clamp(points.detach() + 2.5 * epsilon / steps * gradient.sign(), low, high)
    return points


def pgd(model: nn.Module, x: Tensor, y: Tensor, epsilon: float, steps: int) -> Tensor:
    """l-infinity PGD on the cross-entropy from a random start (Madry et al. 2018)."""
    start = x + epsilon * (2 * torch.rand_like(x) - 1)
    return ascend(lambda z: F.cross_entropy(model(z), y, reduction="sum"), x, start, epsilon, steps)


def batch_loss(model: nn.Module, plan: Plan, x: Tensor, y: Tensor, progress: float) -> Tensor:
    """The loss on one batch; attacks are made in evaluation mode.

    The bound grows over the first half of the training: from the start, a large one can keep a
    network at a constant prediction.
    """
    epsilon = plan.epsilon * min(1.0, 2 * progress)
    if not epsilon:
        return F.cross_entropy(model(x), y)
    model.eval()
    if not plan.trades:
        attacked = pgd(model, x, y, epsilon, plan.steps)
        model.train()
        return F.cross_entropy(model(attacked), y)
    # TRADES (Zhang et al. 2019, arXiv:1901.08573, equation 3).
    with torch.no_grad():
        clean = F.log_softmax(model(x), 1)
    start = x + 0.001 * torch.randn_like(x)
    attacked = ascend(lambda z: _divergence(clean, model(z)).sum(), x, start, epsilon, plan.steps)
    model.train()
    logits = model(x)
    divergence = _divergence(F.log_softmax(logits, 1), model(attacked)).mean()
    return F.cross_entropy(logits, y) + TRADES_WEIGHT * divergence


def _divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """KL(clean || softmax(logits)) per image; `clean` are logarithms of probabilities."""
    return F.kl_div(F.log_softmax(logits, 1), clean, reduction="none", log_target=True).sum(1)


def fit(plan: Plan, x: Tensor, y: Tensor) -> nn.Module:
    """Train a model with AdamW and one cycle of the learning rate."""
    torch.manual_seed(plan.seed)
    model = plan.build().train()
    batches = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=5e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=plan.epochs * batches
    )
    for epoch in range(plan.epochs):
        begin, total = time.monotonic(), 0.0
        order = torch.randperm(len(x))[: batches * BATCH]
        for number, rows in enumerate(order.split(BATCH)):
            progress = (epoch + number / batches) / plan.epochs
            images = _augment(x[rows]) if plan.data == "cifar10" else x[rows]
            loss = batch_loss(model, plan, images, y[rows], progress)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            total += loss.item()
        took = time.monotonic() - begin
        print(f"  epoch {epoch + 1}: loss {total / batches:.3f}, {took:.0f} s", flush=True)
    return model.eval().requires_grad_(False)


def _augment(x: Tensor) -> Tensor:
    """Mirror half of the images and shift the batch by up to two pixels."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    padded = F.pad(torch.where(mirrored, x.flip(3), x), (2, 2, 2, 2))
    row, column = torch.randint(0, 5, (2,)).tolist()
    return padded[:, :, row : row + x.shape[2], column : column + x.shape[3]]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images that are classified correctly."""
    return float((model(x).argmax(1) == y).double().mean())


def main() -> None:
    """Train, write and measure the models."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--models", nargs="+", choices=PLANS, default=list(PLANS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.models:
        plan, begin = PLANS[name], time.monotonic()
        print(name, flush=True)
        x, y = _read(plan.data, "train", args.data)
        model = fit(plan, *_tensors(x[: plan.images], y[: plan.images]))
        save_file(model.state_dict(), args.out / f"{name}.safetensors")
        x_test, y_test = held_out(name, args.data)
        epsilon = plan.epsilon or 2 / 255
        attacked = pgd(model, x_test, y_test, epsilon, 40)
        print(
            f"  {(time.monotonic() - begin) / 60:.1f} minutes; accuracy {len(y_test)} test images: "
            f"{accuracy(model, x_test, y_test):.1%} clean, "
            f"{accuracy(model, attacked, y_test):.1%} under PGD-40 at {epsilon:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
