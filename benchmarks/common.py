"""What every benchmark needs: interleaved timing, tables, conditions, RESULTS.md. No torch."""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"

_TITLE = (
    "# Results\n\nWritten by the scripts beside this file; `README.md` says what they measure.\n"
)

_T = TypeVar("_T")


def options(doc: str | None, *, repeats: int) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--repeats", type=int, default=repeats, help="runs of each (%(default)s)")
    parser.add_argument("--write", action="store_true", help="update this part of RESULTS.md")
    return parser


def interleaved(
    works: Mapping[str, Callable[[int], _T]],
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[dict[str, list[float]], dict[str, list[_T]]]:
    """CPU seconds and answers of each work, called with 0 .. repeats - 1, on one thread.

    The works take turns, in alternating order, so that whatever else the machine does meets all of
    them alike; CPU time leaves out the waiting for a core. Each is called once before, to warm up.
    What does not run on the CPU needs another `clock`.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    answers: dict[str, list[_T]] = {name: [] for name in works}
    for work in works.values():
        work(0)
    for repeat in range(repeats):
        names = list(works) if repeat % 2 == 0 else list(works)[::-1]
        for name in names:
            begin = clock()
            answers[name].append(works[name](repeat))
            seconds[name].append(clock() - begin)
    return seconds, answers


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Quotient of the minima, and of the medians."""
    return (
        f"{min(ours) / min(theirs):.2f} ({statistics.median(ours) / statistics.median(theirs):.2f})"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are padded, so that it reads well in a terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def conditions(packages: Sequence[str], *, repeats: int) -> str:
    """One paragraph: under which conditions figures were measured."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return (
        f"Conditions: {_cpu()}, CPU time of one thread, {repeats} repetitions, interleaved; "
        f"Python {platform.python_version()}, {versions}."
    )


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def record(section: str, text: str, *, write: bool) -> None:
    """Print a part of the results; with `write`, replace it in RESULTS.md, or add it."""
    print(text)
    if not write:
        return
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else _TITLE
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    new = pattern.sub(lambda _: block, old) if begin in old else f"{old.rstrip()}\n\n{block}\n"
    RESULTS.write_text(new, encoding="utf-8")
