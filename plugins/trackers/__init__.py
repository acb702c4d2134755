"""Trackers: TensorBoard, MLflow, and Weights & Biases."""

from auditor.api import hookimpl

from .mlflow import MLflow
from .tensorboard import TensorBoard
from .wandb import WandB


@hookimpl
def auditor_trackers() -> list[type]:
    """The trackers of this package."""
    return [MLflow, TensorBoard, WandB]
