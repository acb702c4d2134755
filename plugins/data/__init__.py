"""Data adapters: where the images under audit come from, besides .npz files."""

from auditor.api import hookimpl

from .huggingface import HuggingFace
from .image_folder import ImageFolder
from .maite import Maite
from .parquet import Parquet
from .python import Python
from .torchvision import Torchvision


@hookimpl
def auditor_data() -> list[type]:
    """The adapters of this package."""
    return [HuggingFace, ImageFolder, Maite, Parquet, Python, Torchvision]
