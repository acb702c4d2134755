"""Tables of verdicts beside the truth: hits, misses, false alarms, corrections, culprits, time."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable
from typing import Any

from common import table
from third_part import EVERY
from zoo import Entry

Row = dict[str, Any]

#: Verdicts that count as an alarm.
ALARM = {"suspected", "confirmed"}
#: A gap that has to be noticed, and how near a corrected accuracy has to be, in points.
GAP, NEAR = 10.0, 3.0
#: The part of the defenses whose corrected accuracy has to be so near.
SHARE = 0.97
#: Seconds that an audit may take.
LIMIT = 300

_BY_NAME = {entry.name: entry for entry in EVERY}


Truth = dict[tuple[str, int], Row]


def truth_of(row: Row, truth: Truth) -> Row | None:
    """The truth on the same images; of another seed where they were not measured."""
    found = truth.get((row["name"], row["seed"]))
    if found is None:
        found = next((one for (name, _), one in truth.items() if name == row["name"]), None)
    return found


def must_be_found(entry: Entry, truth: Row | None) -> bool | None:
    """Whether the true gap is that large; None where it was not measured."""
    if not entry.masks:
        return False
    return None if truth is None else 100 * truth["gap"] >= GAP


def off(row: Row, truth: Row | None) -> float | None:
    """Corrected accuracy minus that under the hand-made adaptive attack, in points.

    None where there is no truth on the very same images.
    """
    if truth is None or row.get("corrected_accuracy") is None:
        return None
    if (row["seed"], row["images"]) != (truth["seed"], truth["images"]):
        return None
    return 100 * float(row["corrected_accuracy"] - truth["adaptive"])


def culprit_right(entry: Entry, row: Row) -> bool | None:
    """Whether the file and the line named are the marked ones; None: nothing is marked."""
    if not entry.operation:
        return None
    places = re.findall(r"([\w-]+\.py):(\d+)", row.get("culprit") or "")
    return bool(places) and (entry.source.name, str(entry.culprit)) == places[0]


def outcome(entry: Entry, row: Row, truth: Row | None) -> str:
    """Hit, miss, false alarm and so on."""
    if "error" in row:
        return "ERROR"
    alarm, wanted = row["verdict"] in ALARM, must_be_found(entry, truth)
    if not entry.masks:
        return "FALSE ALARM" if alarm else "quiet, rightly"
    if wanted is None:
        return "alarm, truth unknown" if alarm else "quiet, truth unknown"
    if wanted:
        return "hit" if alarm else "MISS"
    return "alarm, small gap" if alarm else "quiet, small gap"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _kind(entry: Entry, said: str | None) -> str:
    if said is None or said == entry.kind:
        return said or ""
    return f"{said} (is {entry.kind or 'honest'})"


def _mark(right: bool | None) -> str:
    return "" if right is None else ("right" if right else "WRONG")


def verdict_table(rows: Iterable[Row], truth: Truth) -> str:
    """One line per audit."""
    lines = []
    for row in rows:
        entry, true = _BY_NAME[row["name"]], truth_of(row, truth)
        if "error" in row:
            first, took = row["error"].splitlines()[0], row.get("seconds")
            lines.append([entry.name, str(row["seed"]), "ERROR", first, *[""] * 6,
                          "" if took is None else f"{took:.0f} s"])  # fmt: skip
            continue
        distance = off(row, true)
        part = row["check_seconds"] / row["seconds"] if row["seconds"] else 0
        lines.append([
            entry.name, str(row["seed"]), outcome(entry, row, true), row["verdict"],
            _kind(entry, row["kind"]),
            _percent(row["gradient_attack_accuracy"]), _percent(row["corrected_accuracy"]),
            _percent(true["adaptive"] if true else None),
            "" if distance is None else f"{distance:+.1f}",
            _mark(culprit_right(entry, row)), f"{row['seconds']:.0f} s, {part:.0%}",
        ])  # fmt: skip
    header = ["entry", "seed", "", "verdict", "kind", "before", "corrected", "adaptive attack",
              "off", "culprit's line", "time, checks"]  # fmt: skip
    return table(header, lines)


def requirement_table(rows: list[Row], truth: Truth) -> str:
    """What was required of the zoo, and what came of it."""
    pairs = [(_BY_NAME[row["name"]], row, truth_of(row, truth)) for row in rows]
    done = [pair for pair in pairs if "error" not in pair[1]]
    # An audit without a verdict has neither found a defense nor let a control pass.
    wanted = [(e, r.get("verdict")) for e, r, t in pairs if must_be_found(e, t)]
    missed = sorted({e.name for e, said in wanted if said not in ALARM})
    honest = [(e, r.get("verdict")) for e, r, _ in pairs if not e.masks]
    alarms = sorted({e.name for e, said in honest if said is None or said in ALARM})
    distances = [(e.name, d) for e, r, t in done if must_be_found(e, t)
                 for d in [off(r, t)] if d is not None]  # fmt: skip
    far = sorted({name for name, d in distances if abs(d) > NEAR + 1e-6})
    near = sum(abs(d) <= NEAR + 1e-6 for _, d in distances)
    lines_right = [right for e, r, t in done if must_be_found(e, t)
                   for right in [culprit_right(e, r)] if right is not None]  # fmt: skip
    astray = sorted({e.name for e, r, t in done if must_be_found(e, t)
                     and culprit_right(e, r) is False})  # fmt: skip

    failed = sorted({e.name for e, r, _ in pairs if "error" in r})
    slow = [e.name for e, r, _ in pairs if r.get("seconds", 0) > LIMIT]
    found = sum(said in ALARM for _, said in wanted)
    quiet = sum(said is not None and said not in ALARM for _, said in honest)
    lines = [
        ("audits that ended", len(done), len(pairs), 1.0, failed),
        (f"defenses with a true gap of {GAP:g} points: suspected or confirmed",
         found, len(wanted), 1.0, missed),
        ("honest controls: neither", quiet, len(honest), 1.0, alarms),
        (f"corrected accuracy within {NEAR:g} points of the hand-made attack's, on {SHARE:.0%}",
         near, len(distances), SHARE, far),
        ("culprit's file and line, where one operation is at fault",
         sum(lines_right), len(lines_right), 1.0, astray),
        (f"audits of at most {LIMIT} s", len(pairs) - len(slow), len(pairs), 1.0,
         sorted(set(slow))),
    ]  # fmt: skip
    return table(["requirement", "measured", "", "which not"], [
        [what, f"{good} of {total}",
         "holds" if total and good >= part * total else "DOES NOT HOLD", ", ".join(which)]
        for what, good, total, part, which in lines
    ])  # fmt: skip


def score_text(split: str, rows: list[Row], truth: Truth) -> str:
    """The part of RESULTS.md for one half, or for the third part."""
    order = {entry.name: number for number, entry in enumerate(EVERY)}
    mine = sorted(
        (row for row in rows if _BY_NAME[row["name"]].split == split),
        key=lambda row: (order[row["name"]], row["seed"]),
    )
    title = f"The masking zoo: the {'third part' if split == 'third' else f'half to {split}'}"
    if not mine:
        return f"## {title}\n\nNothing was measured yet."
    seeds = sorted({row["seed"] for row in mine})
    ran = Counter((row["images"], row["profile"]) for row in mine)
    how = "; ".join(f"{count} with {images} images and the profile {profile}"
                    for (images, profile), count in sorted(ran.items()))  # fmt: skip
    done = [row for row in mine if "error" not in row and row["seconds"]]
    part = statistics.median(row["check_seconds"] / row["seconds"] for row in done) if done else 0
    commits = ", ".join(sorted({row.get("commit", "one not noted") for row in mine}))
    first = " Measured once, before anybody had looked at any of it." if split == "third" else ""
    return f"""## {title}

{len({row["name"] for row in mine})} of {sum(entry.split == split for entry in EVERY)} entries, \
seeds {", ".join(map(str, seeds))}, one thread; audits: {how}. Checks take {part:.0%} of an audit \
(median). Commit: {commits}.{first}

{requirement_table(mine, truth)}

{verdict_table(mine, truth)}

"Before" and "corrected" are the audit's accuracies in percent before and after the attacks that \
distrust the gradient; "off" is corrected minus what the hand-made adaptive attack of `truth.py` \
leaves, in points.
"""
