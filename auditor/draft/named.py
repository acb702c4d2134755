"""What the user names: a model, its weights, data; as the tables that an audit.toml has of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.config.load import SCHEMA, resolve_source
from auditor.config.positions import KeyPath
from auditor.config.problems import listed
from auditor.config.source import ConfigSource, override
from auditor.draft.model_source import beside, model_keys
from auditor.errors import UsageError, did_you_mean
from auditor.registry import Registry, load_registry
from auditor.schema.audit import AuditConfig

#: Which adapter reads a file, by its ending.
_ADAPTERS = {".npz": "npz", ".parquet": "parquet"}
_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin")
#: What datasets.save_to_disk leaves in a folder; other folders hold images.
_HUGGINGFACE = ("dataset_info.json", "dataset_dict.json")
#: What `--set` may write here; the rest of the file is what is drafted.
_TABLES = ("model", "data")


@dataclass(frozen=True)
class Named:
    """The tables [[model]] and [data], and the options that they come from.

    Paths are relative to the directory of `path`, the file that is to be written.
    """

    path: Path
    model: dict[str, Any]
    data: dict[str, Any]
    options: dict[KeyPath, str] = field(default_factory=dict)

    def resolve(self) -> tuple[AuditConfig, Registry]:
        """The configuration with which model and data are looked at.

        Raises:
            ConfigError: an option names what is not there.
        """
        tree = {
            "schema": SCHEMA,
            "model": [self.model],
            "data": self.data,
            # What is audited is drafted later; looking needs one of each.
            "threat": [{"norm": "linf", "epsilon": 0.1}],
        }
        name = "The command line"
        return resolve_source(ConfigSource(self.path.absolute(), name, "", tree, self.options))


def from_options(
    path: Path,
    *,
    model: str | None,
    weights: str | None,
    data: str | None,
    adapter: str | None,
    overrides: Sequence[str],
) -> Named:
    """What the command line's options name.

    Raises:
        UsageError: one of them cannot be meant.
    """
    options: dict[KeyPath, str] = {}
    tree: dict[str, Any] = {"model": [{}], "data": {}}
    named = model_keys(model, path, load_registry()) if model else {}
    kept = "checkpoint" if Path(weights or "").suffix.lower() in _CHECKPOINTS else "weights"
    read_by = adapter or (data and _guessed(data))
    for key, option, text in (
        *((("model", 0, key), f"--model {model}", value) for key, value in named.items()),
        (("model", 0, kept), f"--weights {weights}", weights and beside(weights, path)),
        (("data", "adapter"), f"--adapter {read_by}", read_by),
        (("data", "path"), f"--data {data}", data and beside(data, path)),
    ):
        if text:
            table = tree["model"][0] if key[0] == "model" else tree["data"]
            table[str(key[-1])] = text
            options[key] = option
    source = ConfigSource(path.absolute(), "The command line", "", tree, options)
    for text in overrides:
        _refuse_other_tables(text)
    override(source, overrides)
    if len(source.data["model"]) != 1:
        raise UsageError("One model is drafted at a time.", where="--set model.1",
                         expected="--set model.KEY=VALUE",
                         remedy="add further [[model]] tables to the file by hand")  # fmt: skip
    return Named(path, source.data["model"][0], source.data["data"], source.overrides)


def _guessed(data: str) -> str:
    """The adapter that reads `data`, by its ending or by what lies in the folder."""
    folder = Path(data)
    if folder.is_dir():
        found = any((folder / name).is_file() for name in _HUGGINGFACE)
        name = "huggingface" if found else "image-folder"
    else:
        name = _ADAPTERS.get(folder.suffix.lower(), "")
    known = sorted(load_registry().data)
    if name not in known:
        raise UsageError(
            f"Nothing says which data adapter reads {data}.",
            where=f"--data {data}",
            expected=f"--adapter with {listed(known)}",
            remedy="save images and labels with numpy.savez(path, x=images, y=labels)",
        )
    return name


def _refuse_other_tables(text: str) -> None:
    table = text.partition("=")[0].strip().partition(".")[0]
    if table not in _TABLES:
        raise UsageError(
            "`auditor init` drafts this itself.",
            where=f"--set {text}",
            expected="a key of the model or of the data, such as model.kwargs.width=32",
            remedy=did_you_mean(table, _TABLES) or "change it in the file that is written",
        )
