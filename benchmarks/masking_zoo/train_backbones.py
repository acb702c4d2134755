"""Train the two CIFAR-10 backbones of the zoo; the Fashion-MNIST ones are the shipped example's.

    python benchmarks/masking_zoo/train_backbones.py --data FOLDER

The architecture is that of `development.architectures.colour_net`, trained by that package's `fit`
with seeds of their own, so that they are none of the models on which settings of attacks were
chosen. FOLDER holds cifar10-train.npz and cifar10-test.npz.

The weights beside this file, 462 kB each, were made by one thread of a CPU:

| network     | images | epochs | training              | minutes | clean | PGD-40, 8/255 |
| ----------- | ------ | ------ | --------------------- | ------- | ----- | ------------- |
| undefended  | 50,000 | 4      | plain                 | 3       | 75.2% | 0.0%          |
| pgd-trained | 30,000 | 6      | PGD-2, 8/255, growing | 7       | 56.4% | 31.9%         |

Accuracies are of the first 1,000 test images.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "defenses"), str(HERE.parent)]

from backbones import WEIGHTS, cifar_net  # noqa: E402
from development.data import read, tensors  # noqa: E402
from development.objectives import Adversarial, pgd  # noqa: E402
from development.plans import Plan  # noqa: E402
from development.train import accuracy, fit  # noqa: E402
from development_models import held_out  # noqa: E402

PLANS = {
    "undefended": Plan("cifar10", cifar_net, 21, 4, 50_000),
    "pgd-trained": Plan("cifar10", cifar_net, 22, 6, 30_000, Adversarial(8 / 255, 2)),
}
EPSILON = 8 / 255


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the npz files")
    parser.add_argument("--models", nargs="+", choices=PLANS, default=list(PLANS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    x_test, y_test = held_out("cifar-plain", args.data, 1000)
    for name in args.models:
        plan, begin = PLANS[name], time.monotonic()
        print(name, flush=True)
        x, y = read(plan.data, "train", args.data)
        model = fit(plan, *tensors(x[: plan.images], y[: plan.images]))
        minutes = (time.monotonic() - begin) / 60
        save_file(model.state_dict(), WEIGHTS / f"cifar10-{name}.safetensors")
        robust = accuracy(model, pgd(model, x_test, y_test, EPSILON, 40), y_test)
        print(
            f"  {minutes:.1f} minutes; {len(y_test)} test images: "
            f"{accuracy(model, x_test, y_test):.1%} clean, {robust:.1%} under PGD-40 at 8/255",
            flush=True,
        )


if __name__ == "__main__":
    main()
