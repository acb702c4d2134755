"""Train the networks of the zoo's third part.

    python benchmarks/masking_zoo/train_third.py --data FOLDER [--networks NAME ...]

FOLDER holds SET-train.npz and SET-test.npz of fashion-mnist and mnist. Networks whose defense is a
part of them are trained with it, in a form that has a gradient: gates relaxed at a temperature of
1/2, attention that grows steeper, spikes and codes with a sigmoid's slope. Weights are written
beside this file in half precision.

The weights beside this file were made by one thread of a CPU, in seven minutes in all. Clean are
accuracies of the last 1,000 test images in the form that is trained, one draw each where it is
random, the members' mean logits, and for the coder the example's `pgd-trained` behind it; bounds
are those of training with PGD-3:

| network     | images        | bound     | seconds | kB  | clean |
| ----------- | ------------- | --------- | ------- | --- | ----- |
| gates       | MNIST         |           | 16      | 158 | 93.0% |
| gates-pgd   | Fashion-MNIST | linf 0.03 | 32      | 158 | 75.1% |
| blocks-pgd  | Fashion-MNIST | linf 0.06 | 50      | 169 | 82.9% |
| memory      | Fashion-MNIST |           | 21      | 160 | 87.8% |
| memory-pgd  | Fashion-MNIST | linf 0.08 | 44      | 160 | 82.4% |
| deep-pgd    | Fashion-MNIST | linf 0.08 | 104     | 248 | 78.1% |
| members-pgd | Fashion-MNIST | linf 0.08 | 86      | 275 | 82.8% |
| coded       | MNIST         |           | 8       | 172 | 97.3% |
| spiking     | MNIST         |           | 9       | 205 | 96.0% |
| coder       | Fashion-MNIST |           | 18      | 9   | 83.6% |
| references  | MNIST         |           | 2       | 178 | 89.4% |
| small-l2    | Fashion-MNIST | l2 1.5    | 30      | 144 | 79.3% |
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "defenses"), str(HERE.parent)]

from backbones import network  # noqa: E402
from development_models import SHIPPED, _read, _tensors, ascend  # noqa: E402
from third_networks import BUILDERS, WEIGHTS, trained  # noqa: E402
from third_units import code, compete_softly, fire, gate, grey_frames, winners  # noqa: E402

BATCH = 128
#: (network, image, progress from 0 to 1) -> logits; what is trained.
Answer = Callable[[nn.Module, Tensor, float], Tensor]


@dataclass(frozen=True)
class Plan:
    """How a network is trained; `attacked` are the logits that training attacks, if it does."""

    data: str
    seed: int
    answer: Answer
    epochs: int = 3
    images: int = 25_000
    epsilon: float = 0.0
    norm: str = "linf"
    attacked: Answer | None = None


def _plain(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x)
    return z


def _sampled_gates(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, lambda a: gate(a, 0.5))
    return z


def _expected_gates(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, torch.sigmoid)
    return z


def _blocks(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, lambda a: compete_softly(a, 0.67, noisy=True))
    return z


def _expected_blocks(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, lambda a: compete_softly(a, 1.0, noisy=False))
    return z


def _steeper(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    scale = 8 * (80 / 8) ** progress
    z: Tensor = net(x, lambda s: torch.softmax(scale * s, 3))
    return z


def _level(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, lambda s: torch.softmax(12 * s, 3))
    return z


def _winners(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net(x, lambda a: winners(a, 0.05))
    return z


def _spikes(net: nn.Module, x: Tensor, progress: float) -> Tensor:
    z: Tensor = net([torch.bernoulli(x) for _ in grey_frames(x)], fire)
    return z


PLANS = {
    "gates": Plan("mnist", 31, _sampled_gates, epochs=4, images=40_000),
    "gates-pgd": Plan("fashion-mnist", 32, _sampled_gates, epsilon=0.03, attacked=_expected_gates),
    "blocks-pgd": Plan("fashion-mnist", 33, _blocks, epsilon=0.06, attacked=_expected_blocks),
    "memory": Plan("fashion-mnist", 34, _steeper, epochs=5),
    "memory-pgd": Plan("fashion-mnist", 35, _level, epsilon=0.08, attacked=_level),
    "deep-pgd": Plan("fashion-mnist", 36, _winners, epsilon=0.08, attacked=_winners),
    "members-pgd": Plan("fashion-mnist", 37, _plain, epsilon=0.08, attacked=_plain),
    "coded": Plan("mnist", 38, _plain),
    "spiking": Plan("mnist", 39, _spikes),
    "coder": Plan("fashion-mnist", 40, _plain, epochs=2),
    "references": Plan("mnist", 41, _plain),
    "small-l2": Plan("fashion-mnist", 42, _plain, epsilon=1.5, norm="l2", attacked=_plain),
}


def loss_of(name: str, net: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy; of bits for code words, summed over members."""
    if name == "coded":
        assert isinstance(net.words, Tensor)
        return F.binary_cross_entropy_with_logits(z, (net.words[y] + 1) / 2)
    if z.dim() == 3:
        return torch.stack([F.cross_entropy(one, y) for one in z]).sum()
    return F.cross_entropy(z, y)


def hostile(name: str, plan: Plan, net: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
    """`x` attacked by three steps of PGD in evaluation mode, the bound growing at first."""
    assert plan.attacked is not None
    attacked, epsilon = plan.attacked, plan.epsilon * min(1.0, 2 * progress)

    def loss(z: Tensor) -> Tensor:
        return len(x) * loss_of(name, net, attacked(net, z, progress), y)

    if plan.norm == "linf":
        return ascend(loss, x, x + epsilon * (2 * torch.rand_like(x) - 1), epsilon, 3)
    change = torch.zeros_like(x)
    for _ in range(3):
        change.requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(x + change), change)
        length = slope.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
        change = (x + change.detach() + 0.7 * epsilon * slope / length).clamp(0, 1) - x
        length = change.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None, None]
        change = change * (epsilon / length).clamp(max=1)
    return x + change


def fit(name: str, plan: Plan, x: Tensor, y: Tensor) -> nn.Module:
    """Train with AdamW and one cycle of the learning rate."""
    torch.manual_seed(plan.seed)
    net = BUILDERS[name]().train()
    judge = network("fashion-mnist", "pgd-trained")
    batches = len(x) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=4e-3, total_steps=plan.epochs * batches
    )
    for epoch in range(plan.epochs):
        for number, rows in enumerate(torch.randperm(len(x))[: batches * BATCH].split(BATCH)):
            progress, images, labels = (epoch + number / batches) / plan.epochs, x[rows], y[rows]
            if name == "coder":
                again = net(images, code)
                loss = F.mse_loss(again, images) + 0.02 * F.cross_entropy(judge(again), labels)
            else:
                if plan.epsilon and progress:
                    net.eval()
                    images = hostile(name, plan, net, images, labels, progress)
                    net.train()
                loss = loss_of(name, net, plan.answer(net, images, progress), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    return net


def refer(plan: Plan, x: Tensor, y: Tensor) -> nn.Module:
    """Random filters, and the first images of each class: nothing is trained."""
    torch.manual_seed(plan.seed)
    net = BUILDERS["references"]()
    with torch.no_grad():
        features = net.features(x[:10_000])
        net.mean = features.mean(0)
        _, spread, axes = torch.pca_lowrank(features, net.directions.shape[1], niter=4)
        # Half whitened: large directions count more, but not that much more.
        net.directions = axes / (spread / len(features) ** 0.5).sqrt()
        each = len(net.labels) // 10
        rows = torch.cat([(y == label).nonzero().flatten()[:each] for label in range(10)])
        net.examples = (net.features(x[rows]) - net.mean) @ net.directions
        net.labels = y[rows].to(torch.uint8)
    return net


def accuracy(name: str, x: Tensor, y: Tensor) -> float:
    """The share of images that the network in its trained form classifies correctly."""
    net = trained(name)
    with torch.no_grad():
        if name == "references":
            near = net(x).topk(9, largest=False).indices
            return float((net.labels[near].mode(1).values == y).double().mean())
        if name == "coder":
            return float((network("fashion-mnist", "pgd-trained")(net(x, code)).argmax(1) == y)
                         .double().mean())  # fmt: skip
        z = PLANS[name].answer(net, x, 1.0)
        z = z.mean(0) if z.dim() == 3 else z @ net.words.T if name == "coded" else z
    return float((z.argmax(1) == y).double().mean())


def main() -> None:
    """Train, write and measure."""
    import numpy as np

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the npz files")
    parser.add_argument("--networks", nargs="+", choices=PLANS, default=list(PLANS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.networks:
        plan, begin = PLANS[name], time.process_time()
        x, y = _tensors(*(part[: plan.images] for part in _read(plan.data, "train", args.data)))
        net = refer(plan, x, y) if name == "references" else fit(name, plan, x, y)
        state = {key: value.half() if value.is_floating_point() else value
                 for key, value in net.state_dict().items()}  # fmt: skip
        file = WEIGHTS / f"third-{name}.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, file)
        seconds = time.process_time() - begin
        x, y = _read(plan.data, "test", args.data)
        with np.load(SHIPPED) as shipped:
            left_out = shipped["index"] if plan.data == "fashion-mnist" else []
        rows = np.setdiff1d(np.arange(len(x)), left_out)[-1000:]
        clean = accuracy(name, *_tensors(x[rows], y[rows]))
        print(f"{name}: {seconds:.0f} s, {file.stat().st_size / 1000:.0f} kB, {clean:.1%} clean",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
