"""What plugins may record audits with: trackers, which [[track]] names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from auditor.parameters import Spec
from auditor.protocols.events import Listener

_T = TypeVar("_T")


class Tracker(Protocol):
    """Records audits elsewhere. A frozen dataclass; its fields are keys of [[track]]."""

    def listener(self) -> Listener:
        """What hears every event of one audit, as a sink does; see `Sink`."""
        ...


@dataclass(frozen=True)
class TrackerSpec(Spec):
    """A tracker class, under the name users call it by.

    Attributes:
        package: what it cannot do without; empty if nothing.
        install: the command that installs it.
    """

    package: str = ""
    install: str = ""


def tracker(*, name: str, package: str = "", install: str = "") -> Callable[[type[_T]], type[_T]]:
    """Class decorator that says what users write after `use =` in [[track]].

    Args:
        package: what the tracker imports once an audit runs; a configuration that names the tracker
            is refused where it is not installed.
        install: the command that installs it, for the message.
    """

    def describe(cls: type[_T]) -> type[_T]:
        cls.tracker_spec = TrackerSpec(name, cls, "", package, install)  # type: ignore[attr-defined]
        return cls

    return describe
