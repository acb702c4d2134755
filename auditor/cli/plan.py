"""`auditor run --plan`: every cell and every check, with what they cost, and the sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from auditor.cells.inputs import load_samples
from auditor.cells.plan import build_attacks, build_checks, cells, cut, prices
from auditor.cli.console import PlainConsole
from auditor.cli.options import executed
from auditor.config import AuditConfig
from auditor.registry import Registry
from auditor.subject.samples import Samples

_HEADINGS = ("images", "forward", "backward")


@dataclass(frozen=True)
class _Row:
    """One line; `passes` forwards and backwards, None where a check does not say them."""

    title: str
    images: int
    passes: tuple[int, int] | None


def print_plan(console: PlainConsole, config: AuditConfig, registry: Registry) -> None:
    """The cells of one model, which are those of every other, and the sums of all.

    Passes are of single images, if none of them falls.
    """
    samples = load_samples(config, registry)
    for note in samples.notes:
        console.write_line(f"data: {note}")
    names = [model.name for model in config.models]
    attacks = list(_attacks(config, registry, samples))
    checks = list(_checks(config, registry, samples))
    table = Table(show_edge=False, box=None, pad_edge=False, header_style="bold")
    table.add_column(names[0] if len(names) == 1 else f"each of {len(names)} models",
                     overflow="fold")  # fmt: skip
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for row in attacks + checks:
        told = ["not told"] * 2 if row.passes is None else [_number(part) for part in row.passes]
        table.add_row(row.title, _number(row.images), *told)
    table.add_section()
    table.add_row()
    for title, passes in _sums(attacks, checks, len(names)):
        table.add_row(title, "", *map(_number, passes))
    if len(names) > 1:
        console.write_line(f"{', '.join(names)}: the same cells for each")
    console.print(table)
    ran = f"Nothing was run. The data were read. {executed(registry)}".rstrip()
    console.print(f"\n{_said(checks)} {ran}")


def _number(count: int) -> str:
    return f"{count:,}"


def _attacks(config: AuditConfig, registry: Registry, samples: Samples) -> Iterator[_Row]:
    first = config.model_copy(update={"models": config.models[:1]})
    model = config.models[0].name
    attacks, blocks = build_attacks(config, registry, samples), cut(len(samples), samples.shape)
    for one in prices(cells(first, attacks, blocks), len(samples)):
        title = one.title.removeprefix(f"{model} · ")
        yield _Row(title, one.images, (one.forwards, one.backwards))


def _checks(config: AuditConfig, registry: Registry, samples: Samples) -> Iterator[_Row]:
    """They look at the first block at most."""
    images = cut(len(samples), samples.shape)[0].stop
    classes = max(2, int(samples.images.y.max()) + 1)
    for plan in build_checks(config, registry):
        yield _Row(f"check {plan.config.label}", images, plan.cost(images, classes))


def _sums(
    attacks: list[_Row], checks: list[_Row], models: int
) -> Iterator[tuple[str, tuple[int, int]]]:
    of_attacks, of_checks = _sum(attacks), _sum(checks)
    together = (of_attacks[0] + of_checks[0], of_attacks[1] + of_checks[1])
    yield "attacks", of_attacks
    if checks:
        yield "checks, at most", of_checks
        yield "together, at most", together
    if models > 1:
        yield f"all {models} models", (models * together[0], models * together[1])


def _sum(rows: list[_Row]) -> tuple[int, int]:
    told = [row.passes for row in rows if row.passes is not None]
    return sum(one[0] for one in told), sum(one[1] for one in told)


def _said(checks: list[_Row]) -> str:
    """What the sums leave out."""
    text = (
        "Forward and backward passes of single images, if none of them falls, verification apart: "
        "images that fall early cost less, and what breaks an image of a sample is run on all "
        "survivors."
    )
    if checks:
        text += (
            " Checks take far less where they find nothing to look into, and twice as much or more "
            "for a model whose answers vary."
        )
    silent = sum(row.passes is None for row in checks)
    if silent:
        text += f" {silent} of the checks {'does' if silent == 1 else 'do'} not say what it takes."
    return f"{text} `auditor doctor` measures how long a pass takes here."
