"""The properties of data adapters."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from auditor.errors import LoadError
from auditor.subject.samples import Images, Samples, choose_samples
from auditor.testing.offered import Offered
from auditor.testing.property import Violation
from auditor.testing.run import crash

_NOWHERE = "there-is-no-such-file"


class AdapterTrial:
    """A data adapter, and what it loaded."""

    def __init__(self, offered: Offered) -> None:
        self.offered = offered

    @cached_property
    def loaded(self) -> Images | Violation:
        """The images, or what went wrong."""
        return _load(self.offered.made)


def _load(made: Any) -> Images | Violation:
    try:
        images = made.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the author's code may raise anything
        return crash(error)
    if not isinstance(images, Images):
        seen = f"load() returned {type(images).__name__}"
        return Violation("loads", seen, "an Images", "return Images(x, y, class_names, source)")
    return images


def _drawn(trial: AdapterTrial) -> Samples | None:
    """All images as an audit takes them in; None where that is impossible."""
    if not isinstance(trial.loaded, Images):
        return None
    try:
        return choose_samples(trial.loaded, None, 0)
    except Exception:  # told by the property "images"
        return None


def described(trial: AdapterTrial) -> Violation | None:
    """It has a docstring; each parameter says what it is for."""
    spec = trial.offered.spec
    missing = [one.name for one in spec.parameters if not one.doc]
    if not spec.summary or spec.summary.startswith(f"{spec.cls.__name__}("):
        seen, cause = "no docstring", "its first line is what `auditor list data` shows"
    elif missing:
        seen = f"parameters without a meaning: {', '.join(missing)}"
        cause = 'declare them with param(doc="what it is for")'
    else:
        return None
    return Violation("described", seen, "what a user needs to know", cause)


def loads(trial: AdapterTrial) -> Violation | None:
    """`load` returns an Images."""
    found = trial.loaded
    return found if isinstance(found, Violation) else None


def images(trial: AdapterTrial) -> Violation | None:
    """Its images and labels are as an audit needs them: shapes, types, pixels in [0, 1]."""
    if not isinstance(trial.loaded, Images):
        return None
    try:
        choose_samples(trial.loaded, None, 0)
    except LoadError as error:
        return Violation("images", error.what, error.expected, error.remedy, error)
    except Exception as error:
        cause = "x and y have to be NumPy arrays, or read like them: len(x), x.shape, x[indices]"
        seen = f"{type(error).__name__}: {error}"
        return Violation("images", seen, "N images and N labels", cause, error)
    return None


def named(trial: AdapterTrial) -> Violation | None:
    """It says where the images come from; class names, if there are any, are one per class."""
    found = trial.loaded
    if not isinstance(found, Images) or _drawn(trial) is None:
        return None
    names, highest = found.class_names, int(found.y.max())
    if not found.source:
        seen, cause = "no source", "Images(..., source=self.path): the report and errors name it"
    elif names and not (isinstance(names, tuple) and all(isinstance(one, str) for one in names)):
        seen, cause = f"class_names is {names!r}", "a tuple of texts: tuple(map(str, names))"
    elif names and len(names) <= highest:
        seen = f"{len(names)} class names, and the label {highest}"
        cause = "names are looked up by label: one for each, from label 0 on"
    else:
        return None
    return Violation("named", seen, "what the report calls the data and its classes", cause)


def repeatable(trial: AdapterTrial) -> Violation | None:
    """Loading twice gives the same images in the same order."""
    first, again = _drawn(trial), _load(trial.offered.made)
    if first is None or not isinstance(again, Images):
        return None
    if choose_samples(again, None, 0).sha256 == first.sha256:
        return None
    return Violation(
        "repeatable",
        "loading twice gave other images, or another order",
        "the same: an image's position is its name in the report, and what resuming relies on",
        "sort the files (sorted(folder.iterdir())), and shuffle nothing: `samples` draws",
    )


def missing_file(trial: AdapterTrial) -> Violation | None:
    """A path that does not exist is a LoadError that says so."""
    for name in ("path", "folder", "file", "directory", "root"):
        if not trial.offered.has(name):
            continue
        try:
            trial.offered.variant(**{name: _NOWHERE}).load()
        except LoadError as error:
            if error.remedy:
                return None
            return Violation("missing-file", "a LoadError without a remedy",
                             "a remedy as well", "LoadError(..., remedy=...)")  # fmt: skip
        except Exception as error:
            return Violation(
                "missing-file",
                f"{name} = {_NOWHERE!r} raises {type(error).__name__}: {error}",
                "a LoadError that says what, where, what was expected and how to mend it",
                f"look first: if not Path(self.{name}).exists(): raise LoadError(...)",
                error,
            )
        else:
            return Violation("missing-file", f"{name} = {_NOWHERE!r} raises nothing", "a LoadError",
                             f"`{name}` is not used")  # fmt: skip
    return None


PROPERTIES = {
    "described": (described.__doc__ or "", described),
    "loads": (loads.__doc__ or "", loads),
    "images": (images.__doc__ or "", images),
    "named": (named.__doc__ or "", named),
    "repeatable": (repeatable.__doc__ or "", repeatable),
    "missing-file": (missing_file.__doc__ or "", missing_file),
}
