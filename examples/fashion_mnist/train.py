"""Train one of the example's classifiers and write `weights/NAME.safetensors`.

    python train.py --model baseline --data FOLDER

The runs are seeded, so that the same machine and versions give the same weights.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from dataset import DATA_HELP, HERE, load_split
from models import cnn, gradient_mask_toy
from safetensors.torch import save_file
from torch import Tensor, nn

BATCH = 128
TEMPERATURE = 20.0  # of the distillation, as in the paper
ALPHA = 0.7  # weight of the teacher's soft labels; 1 - ALPHA is that of the hard labels
EPSILON = 0.1  # l-infinity bound of the adversarial training, images in [0, 1]
PGD_STEPS = 7

# (model, images (B, 1, 28, 28), labels (B,), progress of the training in [0, 1]) -> mean loss
BatchLoss = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def augment(images: Tensor) -> Tensor:
    """Mirror half of the images (B, 1, 28, 28) and shift the batch by up to one pixel."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    row, column = torch.randint(0, 3, (2,)).tolist()
    return F.pad(images, (1, 1, 1, 1))[:, :, row : row + 28, column : column + 28]


def pgd(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int) -> Tensor:
    """Return images (B, 1, 28, 28) attacked by l-infinity PGD on the cross-entropy.

    Madry et al. 2018, arXiv:1706.06083: random start, steps of 2.5 * epsilon / steps along
    the gradient's sign. Runs in evaluation mode and leaves the model in the mode it had.
    """
    was_training = model.training
    model.eval()
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    attacked = low + (high - low) * torch.rand_like(images)
    for _ in range(steps):
        attacked.requires_grad_(True)
        loss = F.cross_entropy(model(attacked), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        step = 2.5 * epsilon / steps * gradient.sign()
        attacked = torch.clamp(attacked.detach() + step, low, high)
    model.train(was_training)
    return attacked


def standard_loss(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy on augmented images."""
    return F.cross_entropy(model(augment(images)), labels)


def heated_loss(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy of logits / TEMPERATURE, which trains the logits to be that much larger."""
    return F.cross_entropy(model(images) / TEMPERATURE, labels)


def distillation_loss(teacher: nn.Module) -> BatchLoss:
    """Return the student's loss against the teacher's soft labels and the hard labels.

    Papernot et al. 2016, arXiv:1511.04508. Both terms divide the student's logits by
    TEMPERATURE; at inference nothing does.
    """

    def loss(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Tensor:
        with torch.no_grad():
            soft_labels = F.softmax(teacher(images) / TEMPERATURE, dim=1)
        heated = model(images) / TEMPERATURE
        soft, hard = F.cross_entropy(heated, soft_labels), F.cross_entropy(heated, labels)
        return ALPHA * soft + (1 - ALPHA) * hard

    return loss


def adversarial_loss(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Tensor:
    """Cross-entropy on images attacked by PGD (Madry et al. 2018, arXiv:1706.06083).

    The bound grows over the first third of the training: from the start, the full bound
    can keep the network at a constant prediction.
    """
    epsilon = EPSILON * min(1.0, 3 * progress)
    return F.cross_entropy(model(pgd(model, images, labels, epsilon, PGD_STEPS)), labels)


def fit(
    model: nn.Module,
    batch_loss: BatchLoss,
    data: tuple[Tensor, Tensor],
    epochs: int,
    weight_decay: float,
) -> None:
    """Train the model in place with AdamW and one cycle of the learning rate."""
    images, labels = data
    batches = len(images) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-3, total_steps=epochs * batches
    )
    model.train()
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        order = torch.randperm(len(images), device=images.device)
        for number, batch in enumerate(order[: batches * BATCH].split(BATCH)):
            progress = (epoch + number / batches) / epochs
            loss = batch_loss(model, images[batch], labels[batch], progress)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        report = f"loss {total / batches:.4f}, {time.monotonic() - started:.0f} s"
        print(f"epoch {epoch + 1}/{epochs}: {report}", flush=True)
    model.eval()


def train_distilled(data: tuple[Tensor, Tensor], epochs: int, device: torch.device) -> nn.Module:
    """Train a teacher, then a student of the same architecture on its soft labels."""
    teacher, student = cnn().to(device), cnn().to(device)
    # No weight decay: it would hold back the large logits that distillation is about.
    fit(teacher, heated_loss, data, epochs, weight_decay=0.0)
    fit(student, distillation_loss(teacher), data, epochs, weight_decay=0.0)
    return student


def train(name: str, data: tuple[Tensor, Tensor], epochs: int, device: torch.device) -> nn.Module:
    """Return the named model, trained and in evaluation mode."""
    if name == "distilled":
        return train_distilled(data, epochs, device)
    model = (gradient_mask_toy() if name == "gradient-mask-toy" else cnn()).to(device)
    if name == "pgd-trained":
        fit(model, adversarial_loss, data, epochs, weight_decay=0.0)
    else:
        fit(model, standard_loss, data, epochs, weight_decay=0.05)
    return model


# Each model's own seed and number of epochs.
PLANS = {
    "baseline": (1, 20),
    "distilled": (2, 15),
    "gradient-mask-toy": (3, 20),
    "pgd-trained": (4, 12),
}


def accuracy(model: nn.Module, data: tuple[Tensor, Tensor], attack: bool = False) -> float:
    """Return the share of images classified right, under PGD-40 at EPSILON if `attack`."""
    right = 0
    for images, labels in zip(data[0].split(500), data[1].split(500), strict=True):
        if attack:
            images = pgd(model, images, labels, EPSILON, steps=40)
        with torch.no_grad():
            right += int((model(images).argmax(1) == labels).sum())
    return right / len(data[0])


def load_tensors(folder: Path, split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images, float32 (N, 1, 28, 28) in [0, 1], and labels, int64 (N,)."""
    images, labels = load_split(folder, split)
    scaled = torch.from_numpy(images).float().div(255).unsqueeze(1)
    return scaled.to(device), torch.from_numpy(labels).to(device)


def main() -> None:
    """Train, save and measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=PLANS, required=True)
    parser.add_argument("--data", type=Path, required=True, help=DATA_HELP)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, ...")
    parser.add_argument("--epochs", type=int, help="default: as for the shipped weights")
    args = parser.parse_args()
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(found if args.device == "auto" else args.device)
    seed, epochs = PLANS[args.model]
    torch.manual_seed(seed)
    data = load_tensors(args.data, "train", device)
    started = time.monotonic()
    model = train(args.model, data, args.epochs or epochs, device)
    print(f"trained in {(time.monotonic() - started) / 60:.1f} minutes")
    weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    file = HERE / "weights" / f"{args.model}.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(weights, file)
    test = load_tensors(args.data, "test", device)
    print(f"clean test accuracy: {accuracy(model, test):.4f}")
    if args.model == "pgd-trained":
        print(f"accuracy under PGD-40 at {EPSILON}: {accuracy(model, test, attack=True):.4f}")


if __name__ == "__main__":
    main()
