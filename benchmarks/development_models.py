"""Train the development networks, of every regime that shapes a landscape, and find their radii.

    python benchmarks/development_models.py --data FOLDER --out FOLDER

`development/plans.py` is the table of them, and says which half settings of attacks may be chosen
on and which is only ever measured. Attacks are also judged on the models of the Fashion-MNIST
example; these here differ from them in architecture, data and training, and the Fashion-MNIST
images of `held_out` are none of the thousand that the example ships. Each network is written to
`OUT/NAME.safetensors` as soon as it is trained, and its radii to `development_radii.json` beside
this file; what is there is left alone. Most take about a minute on one thread. Afterwards:

    from development_models import PLANS, held_out, load, radius
    module, (x, y) = load("mnist-one-step", OUT), held_out("mnist-one-step", DATA)
    epsilon = radius("mnist-one-step", "linf")
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import torch
from common import HERE, options
from development.data import DATA_HELP, held_out_rows, read, tensors
from development.plans import ALL_NORMS, PLANS, of_split
from development.radii import measured
from development.train import accuracy, fit
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

RADII = HERE / "development_radii.json"


def load(name: str, folder: Path | str) -> nn.Module:
    """The trained network `name`, in evaluation mode, from `folder`/`name`.safetensors."""
    model = PLANS[name].build()
    model.load_state_dict(load_file(Path(folder) / f"{name}.safetensors"))
    return model.eval().requires_grad_(False)


def held_out(name: str, folder: Path | str, count: int = 500) -> tuple[Tensor, Tensor]:
    """Test images of a network, float32 (count, C, H, W) in [0, 1], and labels, int64 (count,).

    They are the first of the test set, those that the Fashion-MNIST example ships left out.
    """
    data = PLANS[name].data
    x, y = read(data, "test", Path(folder))
    rows = held_out_rows(data, count)
    return tensors(x[rows], y[rows])


def validation(name: str, folder: Path | str, count: int = 200) -> tuple[Tensor, Tensor]:
    """The last images of the training set. Only `cifar-plain` has learnt from them."""
    x, y = read(PLANS[name].data, "train", Path(folder))
    return tensors(x[-count:], y[-count:])


def radius(name: str, norm: str) -> float:
    """The epsilon at which a network is attacked in a norm.

    Raises:
        KeyError: it is not attacked in this norm, or its radii have not been found yet.
    """
    return float(_radii()[name][norm]["epsilon"])


def _radii() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RADII.read_text("utf-8")) if RADII.is_file() else {}
    return found


def measuring_options(description: str) -> argparse.ArgumentParser:
    """Options of the scripts that measure on these networks and keep their rows in a file."""
    parser = options(description, repeats=1)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--data", type=Path, help=DATA_HELP)
    parser.add_argument("--nets", type=Path, help="folder of the trained networks")
    parser.add_argument("--rows", type=Path, required=True, help="file of measurements")
    parser.add_argument("--split", choices=("choose", "measure"), help="measure all of a half")
    parser.add_argument("--only", action="append", choices=PLANS, help="measure this network")
    parser.add_argument("--norm", action="append", choices=ALL_NORMS, help="in this norm alone")
    parser.add_argument("--images", type=int, default=300, help="held-out images")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def weights_hash(name: str, folder: Path | str) -> str:
    """The beginning of the sha256 of the weights' file: radii and figures belong to these."""
    content = (Path(folder) / f"{name}.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()[:8]


def train(name: str, data: Path, out: Path) -> None:
    """Train a network and write its weights."""
    plan, begin = PLANS[name], time.process_time()
    x, y = read(plan.data, "train", data)
    model = fit(plan, *tensors(x[: plan.images], y[: plan.images]))
    save_file(model.state_dict(), out / f"{name}.safetensors")
    print(f"  trained in {(time.process_time() - begin) / 60:.1f} minutes of CPU time", flush=True)


def find_radii(name: str, data: Path, out: Path) -> None:
    """Find the radii of a network and keep them, unless those kept belong to its weights."""
    weights = weights_hash(name, out)
    if _radii().get(name, {}).get("weights") == weights:
        return
    model, (x, y) = load(name, out), validation(name, data)
    row = {"weights": weights, "clean": accuracy(model, x, y)}
    row |= {norm: measured(name, model, x, y, norm) for norm in PLANS[name].norms}
    known = _radii() | {name: row}
    ordered = {name: known[name] for name in PLANS if name in known}
    RADII.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    print(f"  {row}", flush=True)


def main() -> None:
    """Train what is not trained yet, and find what radii are not known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--models", nargs="+", choices=PLANS)
    parser.add_argument("--split", choices=("choose", "measure"), help="one half of them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.models or (of_split(args.split) if args.split else PLANS):
        print(name, flush=True)
        if not (args.out / f"{name}.safetensors").is_file():
            train(name, args.data, args.out)
        find_radii(name, args.data, args.out)


if __name__ == "__main__":
    main()
