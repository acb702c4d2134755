"""Read CIFAR-10, and write the test set in the form that `audit.toml` names.

    python dataset.py --data FOLDER

writes `data/test.npz`: all 10,000 test images, from which the audit draws.
"""

import argparse
from pathlib import Path

import numpy as np

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
HERE = Path(__file__).parent
TEST = HERE / "data" / "test.npz"
DATA_HELP = (
    "folder with cifar10-train.npz and cifar10-test.npz (x: uint8 [N, 32, 32, 3], y: [N]); "
    "without these two files, torchvision's CIFAR10 is used from the folder, and downloaded to it "
    "if needed"
)


def load_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the `train` or `test` images, uint8 (N, 32, 32, 3), and labels, int64 (N,)."""
    file = folder / f"cifar10-{split}.npz"
    if file.exists():
        with np.load(file) as arrays:
            return arrays["x"], arrays["y"].astype(np.int64)
    from torchvision.datasets import CIFAR10  # needed only by those without the npz files

    dataset = CIFAR10(str(folder), train=split == "train", download=True)
    return dataset.data, np.array(dataset.targets, dtype=np.int64)


def main() -> None:
    """Write the test set."""
    parser = argparse.ArgumentParser(description="Make data/test.npz.")
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    args = parser.parse_args()
    images, labels = load_split(args.data, "test")
    TEST.parent.mkdir(exist_ok=True)
    np.savez_compressed(TEST, x=images, y=labels, class_names=np.array(CLASSES))


if __name__ == "__main__":
    main()
