"""Read Fashion-MNIST, and choose the 1,000 test images that the example ships.

    python dataset.py --data FOLDER

writes `data/test-1000.npz`: the same number of images of each class, drawn with a fixed seed.
"""

import argparse
from pathlib import Path

import numpy as np

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
HERE = Path(__file__).parent
SUBSET = HERE / "data" / "test-1000.npz"
DATA_HELP = (
    "folder with fashion-mnist-train.npz and fashion-mnist-test.npz (x: uint8 [N, 28, 28], "
    "y: [N]); without these two files, torchvision's FashionMNIST is used from the folder, "
    "and downloaded to it if needed"
)


def load_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the `train` or `test` images, uint8 (N, 28, 28), and labels, int64 (N,)."""
    file = folder / f"fashion-mnist-{split}.npz"
    if file.exists():
        with np.load(file) as arrays:
            return arrays["x"], arrays["y"].astype(np.int64)
    from torchvision.datasets import FashionMNIST  # needed only by those without the npz files

    dataset = FashionMNIST(str(folder), train=split == "train", download=True)
    return dataset.data.numpy(), dataset.targets.numpy().astype(np.int64)


def balanced_subset(labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Return ascending positions, int64, of `per_class` random images of every class."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in classes
    ]
    return np.sort(np.concatenate(chosen))


def main() -> None:
    """Write the shipped subset."""
    parser = argparse.ArgumentParser(description="Make data/test-1000.npz.")
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--seed", type=int, default=0, help="default: 0, as shipped")
    args = parser.parse_args()
    images, labels = load_split(args.data, "test")
    index = balanced_subset(labels, per_class=100, seed=args.seed)
    SUBSET.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        SUBSET, x=images[index], y=labels[index], index=index, class_names=np.array(CLASSES)
    )


if __name__ == "__main__":
    main()
