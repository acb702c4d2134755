"""Training of the development networks."""

from __future__ import annotations

import copy
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from development.plans import Plan

BATCH = 128


def fit(plan: Plan, x: Tensor, y: Tensor) -> nn.Module:
    """Train a model with AdamW and one cycle of the learning rate."""
    torch.manual_seed(plan.seed)
    model, objective = plan.build().train(), copy.deepcopy(plan.loss)
    batches = len(x) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=plan.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=plan.epochs * batches * plan.replays
    )
    for epoch in range(plan.epochs):
        begin, total = time.process_time(), 0.0
        order = torch.randperm(len(x))[: batches * BATCH]
        for number, rows in enumerate(order.split(BATCH)):
            progress = (epoch + number / batches) / plan.epochs
            images = augment(x[rows]) if x.shape[1] == 3 else x[rows]
            for _ in range(plan.replays):
                loss = objective(model, images, y[rows], progress)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                cycle.step()
            total += loss.item()
        took = time.process_time() - begin
        print(f"  epoch {epoch + 1}: loss {total / batches:.3f}, {took:.0f} s", flush=True)
    return model.eval().requires_grad_(False)


def augment(x: Tensor) -> Tensor:
    """Mirror half of the images and shift the batch by up to two pixels."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    padded = F.pad(torch.where(mirrored, x.flip(3), x), (2, 2, 2, 2))
    row, column = torch.randint(0, 5, (2,)).tolist()
    return padded[:, :, row : row + x.shape[2], column : column + x.shape[3]]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images that are classified correctly."""
    return float((model(x).argmax(1) == y).double().mean())
