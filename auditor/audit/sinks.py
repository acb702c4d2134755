"""Passes the events of a run on to the sinks of plugins, none of which can harm it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from auditor.printable import hanging
from auditor.protocols.events import Event, Listener, RunStarted
from auditor.registry import Registry
from auditor.usercode.calls import blamed, with_traceback


class Broadcast:
    """A listener that tells `screen`, and after it every sink of the registry.

    A sink that raises is switched off; `say` is told, and the registry, and so the report.
    """

    def __init__(self, screen: Listener, registry: Registry, say: Callable[[str], None]) -> None:
        self._screen, self._registry, self._say = screen, registry, say
        self._sinks = dict(registry.sinks)
        self._directory: Path | None = None

    def __call__(self, event: Event) -> None:
        """Pass one event on."""
        self._screen(event)  # which raises nothing: `cli.guard`
        if isinstance(event, RunStarted):
            self._directory = event.directory
        for name, sink in list(self._sinks.items()):
            try:
                sink.receive(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may raise anything
                del self._sinks[name]
                self._tell(name, event, error)

    def _tell(self, name: str, event: Event, error: BaseException) -> None:
        plugin = self._registry.origins["sinks", name]
        on = type(event).__name__
        what = f"its sink {name} was switched off: on {on} it raised {blamed(error)}"
        self._registry.note(plugin, what)
        if self._directory is not None:
            what = with_traceback(what, error, self._directory)
        self._say(f"plugin {plugin}: {hanging(what)}")
