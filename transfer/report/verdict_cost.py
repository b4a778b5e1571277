"""What a verdict costs: hours until a gain of one point is decided with 80 % power.

The runs that a verdict needs follow from the spread of the longest recorded runs, the seconds of a
run from ``transfer bench``: as many training images as the recorded runs saw, at the measured pace
of each side, on the same data and task. Evaluation and the training of classifiers are not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common.escape import markdown
from transfer.records.wording import count
from transfer.report.collection import collect
from transfer.report.gains import GainTable
from transfer.report.made_part import MadePart
from transfer.report.speed_tables import Bench, machine_of, markdown_table, work_of
from transfer.report.speed_tables import collect as collect_speeds
from transfer.stats.power import POWER, units_needed

GAIN = 1.0
"""Points."""

PART = MadePart("verdict-cost", "transfer bench --table")
"""The part in ``docs/speed.md`` with the table."""

FIGURE = MadePart("verdict-figure", "transfer bench --table")
"""The part in the README with the sentence."""

_STOCK = "stock"
_AGAINST = (_STOCK, "stock amp")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The spread of recorded runs on some data.

    Attributes:
        sd: Standard deviation of a unit, in points.
        units: Units per row, baseline included, that find a gain of one point; None if over 100.
        images: Training images of a run, over all epochs.
        setting: Of the runs, for people.
    """

    sd: float
    units: int | None
    images: float
    setting: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a verdict on one machine.

    Attributes:
        record: The measured pace, of both sides.
        spread: That of recorded runs.
        runs: Runs of both rows together.
        ours: Hours of one machine, or of one of its GPUs.
        theirs: The same for the other side.
    """

    record: Bench
    spread: Spread
    runs: int
    ours: float
    theirs: float


def costs(speeds: Sequence[Bench], tables: Sequence[GainTable]) -> list[Cost]:
    """The cost for each measured pace on data with recorded spreads.

    Args:
        speeds: Records of ``transfer bench``.
        tables: Tables of gains.
    """
    spreads = _spreads(tables)
    found = []
    for record in speeds:
        spread = spreads.get((record["work"]["task"], record["work"]["data"]))
        if spread and spread.units and record["against"] in _AGAINST:
            runs = 2 * spread.units
            ours, theirs = (
                runs * spread.images * _seconds_an_image(record[side]) / 3600
                for side in ("ours", "other")
            )
            cost = Cost(record=record, spread=spread, runs=runs, ours=ours, theirs=theirs)
            found.append(cost)
    return found


def _spreads(tables: Sequence[GainTable]) -> dict[tuple[str, str], Spread]:
    """The spread by task and data; of several, that of the longest trainings."""
    found: dict[tuple[str, str], Spread] = {}
    for one in tables:
        spread, key = _spread(one), (one.setting.task, one.setting.data)
        if spread and (key not in found or spread.images > found[key].images):
            found[key] = spread
    return found


def _spread(table_of_gains: GainTable) -> Spread | None:
    """The spread behind the first row that is compared with the baseline; None if there is none."""
    for row in table_of_gains.rows:
        result = row.statistics
        if row.name in table_of_gains.analysis.family and result.gain_sd:
            records = [record for one in table_of_gains.rows for record in one.records]
            images = statistics.median(r.content["training"]["images"]["train"] for r in records)
            blocked = result.method == "blocked Dunnett"
            units = units_needed(GAIN / result.gain_sd, 1, blocked)
            setting = table_of_gains.setting.title
            return Spread(sd=result.gain_sd, units=units, images=images, setting=setting)
    return None


def _seconds_an_image(runs: Sequence[Bench]) -> float:
    return statistics.median(run["seconds"]["train"] / run["images"] for run in runs)


def text(found: Sequence[Cost]) -> str:
    """The table, in Markdown."""
    if not found:
        return "There are no measurements yet.\n"
    head = ("machine", "measured", "against", "spread, points", "runs", "ours, h", "theirs, h")
    rows: list[tuple[str, ...]] = [
        (
            markdown(machine_of(one.record)),
            work_of(one.record),
            markdown(one.record["against"]),
            f"{one.spread.sd:.2f}",
            str(one.runs),
            _hours(one.ours),
            _hours(one.theirs),
        )
        for one in found
    ]
    settings = sorted({markdown(one.spread.setting) for one in found})
    return f"Spreads: {'; '.join(settings)}.\n\n{markdown_table(head, rows)}"


def figure(found: Sequence[Cost]) -> str:
    """One sentence: hours of each kind of machine, against stock; empty without measurements."""
    latest: dict[bool, Cost] = {}
    for one in sorted(found, key=_last):
        if one.record["against"] == _STOCK:
            latest[bool(one.record["hardware"].get("gpus"))] = one
    if not latest:
        return "No cost of a verdict is recorded yet.\n"
    parts = [
        f"{_hours(one.ours)} hours of {markdown(_short(one.record))} (stock training: "
        f"{_hours(one.theirs)})"
        for _, one in sorted(latest.items(), reverse=True)
    ]
    work = latest[max(latest)].record["work"]
    return (
        f"To find a gain of one point in {work['task']} on {work['data']} with "
        f"{100 * POWER:.0f} % power takes {', or '.join(parts)}.\n"
    )


def _hours(number: float) -> str:
    """Two figures or more."""
    return f"{number:.0f}" if number >= 9.95 else f"{number:.1f}"


def _last(cost: Cost) -> tuple[bool, int, str]:
    """Order of preference, the best last: detection, the largest images, the newest record."""
    work = cost.record["work"]
    return work["task"] == "detection", work["image_size"], cost.record["finished"]


def _short(record: Bench) -> str:
    hardware = record["hardware"]
    gpus = hardware.get("gpus")
    return f"one {gpus[0]}" if gpus else f"{count(hardware['cores'], 'core')} of {hardware['cpu']}"


def write(results: Path, readme: Path) -> None:
    """Write the table into ``docs/speed.md`` and the sentence into the README, where marked."""
    found = costs(collect_speeds(results)[0], collect(results).gains)
    docs = readme.parent / "docs" / "speed.md"
    for part, file, made in ((PART, docs, text(found)), (FIGURE, readme, figure(found))):
        if part.is_in(file):
            part.put(file, made)
