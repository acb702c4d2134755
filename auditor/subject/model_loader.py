"""How plugins provide models that are no Python factory of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from auditor.parameters import Spec

if TYPE_CHECKING:
    from torch import nn

_T = TypeVar("_T")


class ModelLoader(Protocol):
    """A frozen dataclass whose fields are keys of [[model]]; `load` makes the model.

    What its fields name as `FilePath`, `FolderPath` or `FactoryPath` belongs to the model's
    fingerprint. A loader that reads further files has a method `files`, which returns their paths.

    `weights`, `checkpoint`, `output_key`, `outputs`, `precision` and `normalize` of [[model]] are
    the engine's, and work with every loader.
    """

    def load(self) -> nn.Module:
        """The model, on the CPU. It takes (B, C, H, W) pixels in [0, 1] and returns scores.

        A text `remark` of the module, if it has one, is told in the report.

        Raises:
            LoadError: it cannot be made; the message says what to do.
        """


def model_loader(*, name: str) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that says what users write after `loader =`."""

    def describe(cls: type[_T]) -> type[_T]:
        cls.model_spec = Spec(name, cls, "")  # type: ignore[attr-defined]
        return cls

    return describe
