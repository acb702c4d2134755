"""Resolves [[track]]: where the audit is recorded."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from auditor.config.context import Context
from auditor.config.paths import resolved_paths
from auditor.config.positions import KeyPath
from auditor.errors import LoadError
from auditor.protocols.tracking import TrackerSpec
from auditor.schema.tables import TrackConfig


def resolve_tracks(context: Context, tables: Sequence[TrackConfig | None]) -> list[TrackConfig]:
    """Those of [[track]] that have no faults, their trackers asked for their own keys."""
    tracks: list[TrackConfig] = []
    known = context.registry.trackers
    for index, table in enumerate(tables):
        if table is None:
            continue
        path: KeyPath = ("track", index)
        spec = known.get(table.use)
        if spec is None:
            context.unknown((*path, "use"), "tracker", table.use, known)
            continue
        if any(other is not None and other.use == table.use for other in tables[:index]):
            context.problems.add(
                (*path, "use"),
                f'Two [[track]] say use = "{table.use}".',
                expected="each tracker once",
                remedy="remove one of them",
            )
        _check_package(context, (*path, "use"), spec)
        own = context.parameters(path, spec, table.written, f'The tracker "{spec.name}"')
        if own is not None:
            tracks.append(table.completed(own, resolved_paths(context, path, spec, own)))
    return tracks


def _check_package(context: Context, path: KeyPath, spec: TrackerSpec) -> None:
    """Found, and not imported: to import one may take seconds."""
    if spec.package and importlib.util.find_spec(spec.package) is None:
        context.problems.add(
            path,
            f'The tracker "{spec.name}" needs the package {spec.package}, which is not installed.',
            expected=f"{spec.package} in this environment",
            remedy=spec.install,
            kind=LoadError,
        )
