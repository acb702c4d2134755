"""Passes the events of a run on to the sinks and trackers of plugins; none can harm it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from auditor.printable import hanging
from auditor.protocols.events import Event, Listener, RunStarted
from auditor.protocols.tracking import TrackerSpec
from auditor.registry import Registry
from auditor.registry.hooks import WORDS
from auditor.schema.tables import TrackConfig
from auditor.usercode.calls import blamed, with_traceback


class Broadcast:
    """A listener that tells `screen`, and after it every sink of the registry and every tracker.

    One that raises is switched off; `say` is told, and the registry, and so the report.

    Args:
        tracks: the trackers, with their parameters.
    """

    def __init__(
        self,
        screen: Listener,
        registry: Registry,
        tracks: Sequence[TrackConfig],
        say: Callable[[str], None],
    ) -> None:
        self._screen, self._registry, self._say = screen, registry, say
        self._sinks = {("sinks", name): sink.receive for name, sink in registry.sinks.items()}
        for one in tracks:
            self._sinks["trackers", one.use] = _begun(registry.trackers[one.use], one.parameters)
        self._directory: Path | None = None

    def __call__(self, event: Event) -> None:
        """Pass one event on."""
        self._screen(event)  # which raises nothing: `cli.guard`
        if isinstance(event, RunStarted):
            self._directory = event.directory
        for key, receive in list(self._sinks.items()):
            try:
                receive(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may raise anything
                del self._sinks[key]
                self._tell(key, event, error)

    def _tell(self, key: tuple[str, str], event: Event, error: BaseException) -> None:
        plugin = self._registry.origins[key]
        on, (kind, name) = type(event).__name__, key
        what = f"its {WORDS[kind]} {name} was switched off: on {on} it raised {blamed(error)}"
        self._registry.note(plugin, what)
        if self._directory is not None:
            what = with_traceback(what, error, self._directory)
        self._say(f"plugin {plugin}: {hanging(what)}")


def _begun(spec: TrackerSpec, parameters: dict[str, Any]) -> Listener:
    """The tracker's listener, made at the first event: what it raises then is its own."""
    made: list[Listener] = []

    def receive(event: Event) -> None:
        if not made:
            made.append(spec.build(parameters).listener())
        made[0](event)

    return receive
