"""The tables of `cascade_networks.py`, made of its rows."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from common import table
from development.plans import PLANS, TIMED, Split

Row = dict[str, Any]
#: The peers by whose time ours is judged: AutoAttack as others have it.
OTHERS = ("pyautoattack", "torchattacks")
NORMS = {"linf": "l-infinity", "l2": "l2", "l1": "l1"}
#: At most so many images of all may be left to a peer.
LEFT_TO_PEERS = 1 / 500
#: At most such a part of the faster peer's time: with 300 images, 2,000, 10,000.
LIMITS = {"linf": (1 / 2, 1 / 10, 1 / 50), "l2": (1.0, 1 / 3, None), "l1": (1.0, 1 / 3, None)}
TEN_THOUSAND = 10_000


def newest(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    """The last row of each (kind, network, norm), in the order of the table of networks."""
    found = {(row["kind"], row["name"], row["norm"]): row for row in rows}
    order = list(PLANS)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1]))))


def broken(row: Row) -> dict[str, set[int]]:
    """By peer: the survivors of the cascade that it breaks."""
    left = set(row["cascade"]["survivors"])
    return {name: left - set(by["survivors"]) for name, by in row["by"].items()}


def within_bound(row: Row) -> bool:
    """Whether no peer breaks more of the survivors than the cascade says may still fall."""
    return all(len(found) <= row["cascade"]["evidence"]["most"] for found in broken(row).values())


def strength(rows: list[Row], split: Split) -> str:
    """Network by network, what peers break of the survivors, and the stated bound."""
    names = list(dict.fromkeys(name for row in rows for name in row["by"]))
    lines = []
    for row in rows:
        left, found = len(row["cascade"]["survivors"]), broken(row)
        evidence = row["cascade"]["evidence"]
        lines.append([
            row["name"], PLANS[row["name"]].regime, row["norm"], f"{row['epsilon']:g}",
            f"{row['attacked'] / row['images']:.1%}", f"{left / row['images']:.1%}",
            *(str(len(found[name])) if name in found else "-" for name in names),
            str(len(set().union(*found.values()))),
            f"{evidence['sampled']} of {left}", str(len(evidence["rounds"])),
            str(evidence["most"]), "holds" if within_bound(row) else "DOES NOT HOLD",
            f"{row['cascade']['seconds']:.0f} s",
        ])  # fmt: skip
    header = ["network", "regime", "norm", "epsilon", "clean", "cascade", *names, "any", "sampled",
              "samples", "stated bound", "", "time"]  # fmt: skip
    return table(header, lines)


def totals(rows: list[Row]) -> str:
    """Over all networks, norm by norm: what peers still break, and whether bounds hold."""
    lines = []
    for norm, title in NORMS.items():
        mine = [row for row in rows if row["norm"] == norm]
        if not mine:
            continue
        names = list(dict.fromkeys(name for row in mine for name in row["by"]))
        attacked = sum(row["attacked"] for row in mine)
        counts = {name: sum(len(broken(row).get(name, ())) for row in mine) for name in names}
        anyone = sum(len(set().union(*broken(row).values())) for row in mine)
        for name, count in (counts | {"any of them": anyone}).items():
            verdict = "holds" if count <= LEFT_TO_PEERS * attacked else "DOES NOT HOLD"
            lines.append([f"{title}: images left that {name} breaks",
                          f"at most {LEFT_TO_PEERS * attacked:.1f} of {attacked}", str(count),
                          verdict])  # fmt: skip
        wrong = sum(not within_bound(row) for row in mine)
        lines.append([f"{title}: networks on which a peer breaks more than the stated bound",
                      f"0 of {len(mine)}", str(wrong),
                      "DOES NOT HOLD" if wrong else "holds"])  # fmt: skip
    return table(["requirement", "limit", "measured", ""], lines)


def whole(rows: list[Row]) -> str:
    """Everybody on the same images: accuracy, passes per attacked image, seconds."""
    lines = [
        [row["name"], row["norm"], f"{row['epsilon']:g}", name,
         f"{len(by['survivors']) / row['images']:.1%}",
         f"{by['passes'][0] / row['attacked']:,.0f}", f"{by['passes'][1] / row['attacked']:,.0f}",
         f"{by['seconds']:.1f} s", f"{by['seconds'] / row['by']['cascade']['seconds']:.2f}"]
        for row in rows for name, by in row["by"].items()
    ]  # fmt: skip
    header = ["network", "norm", "epsilon", "attack", "robust", "forwards", "backwards", "time",
              "as a multiple of cascade's"]  # fmt: skip
    return table(header, lines)


def by_stages(few: Row, lots: Row, images: int) -> float:
    """CPU seconds of the cascade with so many images, from two rows of the same network.

    Every stage is taken to go on growing as it grew between the two, in the images that it was run
    on, at its cost per image in the larger one.
    """
    small, large = _stages(few), _stages(lots)
    spent = sum(seconds for _, seconds in large.values())
    scale, total = lots["by"]["cascade"]["seconds"] / max(spent, 1e-9), 0.0
    for name, (count, seconds) in large.items():
        growth = (count - small.get(name, (0, 0.0))[0]) / (lots["images"] - few["images"])
        expected = count + max(growth, 0.0) * (images - lots["images"])
        total += scale * seconds * expected / max(count, 1)
    return total


def _stages(row: Row) -> dict[str, tuple[int, float]]:
    """By name: images, and seconds of wall time."""
    found: dict[str, tuple[int, float]] = {}
    for stage in row["by"]["cascade"]["stages"]:
        count, seconds = found.get(stage["name"], (0, 0.0))
        found[stage["name"]] = count + stage["images"], seconds + stage["seconds"]
    return found


def speed(rows: list[Row], lots: dict[tuple[str, str], Row]) -> str:
    """The cascade's time as a part of the faster peer's, with ever more images."""
    lines = []
    for row in rows:
        theirs = [row["by"][name]["seconds"] for name in OTHERS if name in row["by"]]
        larger = lots.get((row["name"], row["norm"]))
        if not theirs or larger is None:
            continue
        ours, limits = row["by"]["cascade"], LIMITS[row["norm"]]
        more = len(larger["by"]["cascade"]["survivors"]) / max(len(ours["survivors"]), 1)
        many = more * TEN_THOUSAND / larger["images"]
        counts = (row["images"], larger["images"], TEN_THOUSAND)
        seconds = (ours["seconds"], larger["by"]["cascade"]["seconds"],
                   by_stages(row, larger, TEN_THOUSAND))  # fmt: skip
        for count, mine, factor, limit in zip(
            counts, seconds, (1, more, many), limits, strict=True
        ):
            part = mine / (factor * min(theirs))
            verdict = "" if limit is None else "holds" if part <= limit else "DOES NOT HOLD"
            lines.append([row["name"], row["norm"], f"{count:,}", f"{mine:.1f} s",
                          f"{factor * min(theirs):.1f} s", f"{part:.3f}",
                          "-" if limit is None else f"at most {limit:.3f}", verdict])  # fmt: skip
    header = ["network", "norm", "images", "cascade", "faster peer", "part", "limit", ""]
    return table(header, lines)


def text(rows: list[Row], conditions: str) -> str:
    """The whole section."""
    found = newest(rows)
    parts = [f"## The cascade on the development networks\n\n{conditions}"]
    titles: dict[Split, str] = {
        "measure": "Networks that are only ever measured",
        "choose": "Networks on which settings were chosen",
    }
    for split, title in titles.items():
        mine = [row for (kind, name, _), row in found.items()
                if kind == "survivors" and PLANS[name].split == split]  # fmt: skip
        if mine:
            medians = f"{median(row['cascade']['seconds'] for row in mine):.0f}"
            parts.append(
                f"### {title}\n\n{mine[0]['images']} held-out images each; peers attacked only "
                f"what the cascade left; their columns, and the stated bound, count images. Median "
                f"time of the cascade {medians} s.\n\n{strength(mine, split)}\n\n{totals(mine)}"
            )
    whole_rows = [row for (kind, _, _), row in found.items() if kind == "times"]
    if whole_rows:
        lots = {(name, norm): row for (kind, name, norm), row in found.items() if kind == "many"}
        strangers = sorted({row["name"] for row in whole_rows} - set(TIMED))
        note = f" Not of the four that were drawn: {', '.join(strangers)}." if strangers else ""
        parts.append(
            "### Everybody on the same images\n\nPasses are per attacked image; MM and A3 are "
            f"their published schedules in this engine, not their authors' programs.{note}\n\n"
            f"{whole(whole_rows)}"
        )
        parts.append(
            "### Time with more images\n\nThe first line of a network is measured in whole. In the "
            "second the cascade is measured in whole, and the peer's time is that of the first "
            "line scaled by the number of images that survive. In the third the cascade's is added "
            "up by stages: each goes on growing as it grew from the first line to the second, and "
            f"the peer's is scaled again.\n\n{speed(whole_rows, lots)}"
        )
    return "\n\n".join(parts) + "\n"
