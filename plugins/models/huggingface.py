"""Image classifiers of Hugging Face's transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.api import FolderPath, LoadError, import_extra, model_loader, param

_WHERE = 'loader = "huggingface"'


@model_loader(name="huggingface")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """An image classifier in a local folder, with config.json and model.safetensors.

    Nothing is downloaded, and no code in the folder is run. Pixels go in as they are, unless
    `processor` or `normalize` says otherwise.
    """

    path: FolderPath = param(doc="the folder, relative to audit.toml")
    processor: bool = param(False, "normalise as preprocessor_config.json says")

    def load(self) -> Any:
        """The classifier, returning its logits alone."""
        transformers = import_extra("transformers", "huggingface", _WHERE)
        folder = Path(self.path)
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file() and not (folder / f"{name}.index.json").is_file():
                raise _missing(folder, name)
        try:
            model = transformers.AutoModelForImageClassification.from_pretrained(
                self.path, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except Exception as error:  # the library raises many kinds of errors
            raise LoadError(
                f"transformers cannot load it: {str(error).strip().splitlines()[0]}",
                where=self.path,
                expected="an image classifier saved with save_pretrained",
                remedy="load it once with AutoModelForImageClassification.from_pretrained",
            ) from None
        from .classifier import Classifier

        scale = _normalization(folder)
        classifier = Classifier(model, scale if self.processor else None)
        if scale and not self.processor:
            mean, std = scale
            classifier.remark = (
                f"preprocessor_config.json normalises with mean {mean} and std {std}; the audit "
                "does so only with processor = true, or with `normalize`."
            )
        return classifier


def _missing(folder: Path, name: str) -> LoadError:
    pickled = (folder / "pytorch_model.bin").is_file() and name != "config.json"
    what = "its weights are a pickle, which could run code" if pickled else f"there is no {name}"
    return LoadError(
        f"The folder cannot be loaded: {what}.",
        where=str(folder),
        expected="a folder of save_pretrained, with config.json and model.safetensors",
        remedy="where you trust it, load it with transformers and save it again with "
        "model.save_pretrained(folder, safe_serialization=True)"
        if pickled
        else "save the model there with save_pretrained",
    )


def _normalization(folder: Path) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that the image processor would apply."""
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        mean, std = ([float(one) for one in found[key]] for key in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (mean, std) if found.get("do_normalize", True) and mean and std else None
