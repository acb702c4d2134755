"""TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.api import Listener, tracker

from .facts import Scalar
from .recording import Recording


@tracker(
    name="tensorboard",
    package="tensorboard",
    install="pip install 'robustness-auditor[tensorboard]'",
)
@dataclass(frozen=True)
class TensorBoard:
    """Event files in the folder `tensorboard` of the run directory.

    `tensorboard --logdir audits` shows all audits of an output folder side by side. Curves over
    epsilon have millionths of it as steps. An audit that is gone on with writes into the same
    folder.
    """

    def listener(self) -> Listener:
        """A recording of one audit."""
        return _Recording()


#: What the table of hyperparameters sets beside them.
_COMPARED = ("clean_accuracy/", "robust_accuracy/")


class _Recording(Recording):
    name = "tensorboard"

    def __init__(self) -> None:
        super().__init__()
        self._compared: dict[str, float] = {}

    def begin(self, directory: Path, run: str | None, parameters: dict[str, str]) -> str:
        from torch.utils.tensorboard import SummaryWriter

        folder = directory / "tensorboard"
        # What an earlier session wrote is shown no more: all of it but the progress comes again.
        purge = 0 if folder.is_dir() else None
        self._writer = SummaryWriter(str(folder), purge_step=purge)
        self._parameters = parameters
        told = ((name, text.replace("|", "\\|")) for name, text in parameters.items())
        lines = ["| key | value |", "|---|---|", *(f"| {name} | {text} |" for name, text in told)]
        self._writer.add_text("configuration", "\n".join(lines))
        self._writer.flush()
        return ""

    def numbers(self, scalars: Sequence[Scalar]) -> None:
        for one in scalars:
            if one.name.startswith(_COMPARED):  # written with the hyperparameters
                self._compared[one.name] = one.value
            else:
                self._writer.add_scalar(one.name, one.value, one.whole_step)
        self._writer.flush()

    def texts(self, words: dict[str, str], summary: str) -> None:
        self._writer.add_text("summary", summary)
        for name, text in words.items():
            self._writer.add_text(f"verdict/{name}", text)
        # "." is the folder itself, so that the table of hyperparameters has one row for an audit.
        self._writer.add_hparams(self._parameters, self._compared, run_name=".")

    def files(self, files: Sequence[Path]) -> None:
        """It keeps none: they lie beside its folder."""

    def end(self) -> None:
        self._writer.close()
