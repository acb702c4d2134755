"""Model loaders: where the model under audit comes from, besides a Python factory."""

from auditor.api import hookimpl

from .exported import TorchExport
from .huggingface import HuggingFace
from .onnx import Onnx
from .scripted import TorchScript
from .timm import Timm
from .torchvision import Torchvision


@hookimpl
def auditor_models() -> list[type]:
    """The loaders of this package."""
    return [HuggingFace, Onnx, Timm, TorchExport, TorchScript, Torchvision]
