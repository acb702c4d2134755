"""Train one of the example's classifiers and write `weights/NAME.safetensors`.

    python train.py --model pgd-trained --data FOLDER

Meant for a GPU. `--images 64 --epochs 1` shows on any machine that it runs.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from dataset import DATA_HELP, HERE, load_split
from models import resnet18
from safetensors.torch import save_file
from torch import Tensor, nn

BATCH = 128
TEST_BATCH = 500
EPSILON = 8 / 255  # l-infinity bound of the adversarial training, images in [0, 1]
STEP = 2 / 255
TRAIN_STEPS = 10  # PGD steps, in training
TEST_STEPS = 20  # and afterwards
PADDING = 4

# Each model's own seed and number of epochs.
PLANS = {"baseline": (1, 30), "pgd-trained": (2, 30)}

# (model, images (B, 3, 32, 32), labels (B,)) -> images to train on
Preparation = Callable[[nn.Module, Tensor, Tensor], Tensor]


def augment(images: Tensor) -> Tensor:
    """Cut each image (B, 3, 32, 32) out at random with PADDING around it, and mirror half."""
    count, _, height, width = images.shape
    device = images.device
    mirrored = torch.rand(count, 1, 1, 1, device=device) < 0.5
    padded = F.pad(torch.where(mirrored, images.flip(3), images), (PADDING,) * 4)
    corner = torch.randint(0, 2 * PADDING + 1, (2, count, 1), device=device)
    rows = (corner[0] + torch.arange(height, device=device))[:, :, None]  # (B, 32, 1)
    columns = (corner[1] + torch.arange(width, device=device))[:, None, :]  # (B, 1, 32)
    image = torch.arange(count, device=device)[:, None, None]
    # The indices stand around the channels, which therefore come last: channels-last already.
    return padded[image, :, rows, columns].movedim(3, 1)


def pgd(model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Return images (B, 3, 32, 32) attacked by l-infinity PGD on the cross-entropy.

    Madry et al. 2018, arXiv:1706.06083: random start, steps of STEP along the gradient's sign.
    Runs in evaluation mode and leaves the model in the mode it had.
    """
    was_training = model.training
    model.eval()
    low, high = (images - EPSILON).clamp(min=0), (images + EPSILON).clamp(max=1)
    noise = EPSILON * (2 * torch.rand_like(images) - 1)
    attacked = torch.clamp(images + noise, low, high)
    for _ in range(steps):
        attacked.requires_grad_(True)
        loss = F.cross_entropy(model(attacked), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = torch.clamp(attacked.detach() + STEP * gradient.sign(), low, high)
    model.train(was_training)
    return attacked


def unchanged(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the images as they are: ordinary training."""
    return images


def under_attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return adversarial images: adversarial training as in Madry et al. 2018."""
    return pgd(model, images, labels, TRAIN_STEPS)


def pixels(images: Tensor, device: torch.device) -> Tensor:
    """Turn uint8 images (B, 3, 32, 32) into float32 in [0, 1], channels-last on CUDA."""
    scaled = images.float().div(255)
    if device.type == "cuda":
        scaled = scaled.contiguous(memory_format=torch.channels_last)
    return scaled


def fit(
    model: nn.Module,
    prepare: Preparation,
    data: tuple[Tensor, Tensor],
    epochs: int,
    device: torch.device,
) -> None:
    """Train in place by SGD with Nesterov momentum, the learning rate falling along a cosine."""
    images, labels = data
    batches = -(-len(images) // BATCH)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * batches)
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    model.train()
    for epoch in range(epochs):
        started = time.monotonic()
        total = torch.zeros((), device=device)
        for batch in torch.randperm(len(images), device=device).split(BATCH):
            x, y = augment(pixels(images[batch], device)), labels[batch]
            with half:
                loss = F.cross_entropy(model(prepare(model, x, y)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach()
        report = f"loss {total.item() / batches:.4f}, {time.monotonic() - started:.0f} s"
        print(f"epoch {epoch + 1}/{epochs}: {report}", flush=True)
    model.eval()


def accuracy(
    model: nn.Module, data: tuple[Tensor, Tensor], device: torch.device, attack: bool = False
) -> float:
    """Return the share of images classified correctly, if `attack` under PGD, in float32."""
    correct = 0
    for images, labels in zip(*(part.split(TEST_BATCH) for part in data), strict=True):
        x = pixels(images, device)
        if attack:
            x = pgd(model, x, labels, TEST_STEPS)
        with torch.no_grad():
            correct += int((model(x).argmax(1) == labels).sum())
    return correct / len(data[1])


def load_tensors(
    folder: Path, split: str, count: int | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return images, uint8 (N, 3, 32, 32), and labels, int64 (N,), on the device."""
    images, labels = load_split(folder, split)
    x = torch.from_numpy(images[:count]).permute(0, 3, 1, 2).contiguous()
    return x.to(device), torch.from_numpy(labels[:count]).to(device)


def main() -> None:
    """Train, save and measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=PLANS, required=True)
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    parser.add_argument("--epochs", type=int, help="default: 30")
    parser.add_argument("--images", type=int, help="only the first so many of each set, to try")
    args = parser.parse_args()
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(found if args.device == "auto" else args.device)
    seed, epochs = PLANS[args.model]
    torch.manual_seed(seed)
    model = resnet18().to(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        model = model.to(memory_format=torch.channels_last)
    data = load_tensors(args.data, "train", args.images, device)
    started = time.monotonic()
    prepare = under_attack if args.model == "pgd-trained" else unchanged
    fit(model, prepare, data, args.epochs or epochs, device)
    print(f"trained in {(time.monotonic() - started) / 60:.1f} minutes")
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    file = HERE / "weights" / f"{args.model}.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(weights, file)
    test = load_tensors(args.data, "test", args.images, device)
    print(f"clean test accuracy: {accuracy(model, test, device):.4f}", flush=True)
    print(f"accuracy under PGD-{TEST_STEPS} at 8/255: "
          f"{accuracy(model, test, device, attack=True):.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
