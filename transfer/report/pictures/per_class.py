"""Change of each class in each row against the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from transfer.records import per_image
from transfer.report.gains import GainRow, GainTable, observation
from transfer.report.pictures.choice import Pair, against, compared, how_many, largest
from transfer.report.pictures.style import (
    COLOURS,
    INK,
    MARKERS,
    Margins,
    canvas,
    text_width,
    title,
)
from transfer.stats.rows import Observation
from transfer.stats.summary import summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_CLASSES = 30


def changes(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """For each row and common class, the mean over units minus the baseline's."""
    found = {}
    for pair in pairs:
        before, after = _means(pair.baseline), _means(pair.row)
        shared = sorted(before.keys() & after.keys())
        if shared:
            found[pair.name] = {name: after[name] - before[name] for name in shared}
    return found


def draw(tables: Sequence[GainTable]) -> Figure | None:
    """One line for each class, one mark for each row in question; None if nothing was compared.

    Classes outside of the headline are too rare to be measured, so the picture leaves them out.

    Args:
        tables: All tables of one setting.
    """
    pairs = [pair for pair in compared(tables) if not pair.row.statistics.control]
    found = changes(largest(pairs))
    classes, of = _classes(found, per_image.headline_classes(tables[0].rows[0].records[0]))
    if not classes:
        return None
    setting = tables[0].setting
    margins = Margins(left=0.2 + text_width(classes), bottom=0.55 if len(found) == 1 else 0.95)
    high = margins.top + margins.bottom + 0.21 * len(classes)
    with canvas(max(7.0, margins.left + 4.0), high, margins=margins) as (figure, (axes,)):
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (row, change) in enumerate(found.items()):
            at = [(change[name], y) for y, name in enumerate(classes) if name in change]
            if len(found) == 1:
                for x, y in at:
                    axes.plot([0, x], [y, y], color=COLOURS[place], lw=2)
            axes.plot(
                *zip(*at, strict=True), MARKERS[place], color=COLOURS[place], mfc="none", label=row
            )
        axes.set_yticks(range(len(classes)), classes)
        axes.set_ylim(len(classes) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(color="#8a8a8a", alpha=0.25)
        some = "" if len(classes) == of else f", {len(classes)} of {of} classes"
        of_row = f" of {next(iter(found))}" if len(found) == 1 else ""
        axes.set_xlabel(f"change{of_row} against {against(tables)}, points{some}")
        kind = "AP" if setting.task == "detection" else "IoU"
        title(figure, f"{kind}. {setting.title}{how_many(len(found), len(pairs))}")
        if len(found) > 1:
            figure.legend(loc="lower center", ncols=3)
        return figure


def _classes(
    found: Mapping[str, Mapping[str, float]], headline: Sequence[str]
) -> tuple[list[str], int]:
    """The classes to show, largest mean change first, and their total number.

    Args:
        found: The change of each class, by row.
        headline: The classes in the headline; empty for all.
    """
    names = sorted({name for change in found.values() for name in change})
    of = len(names)
    names = [name for name in names if name in headline] or names
    mean = {name: np.mean([c[name] for c in found.values() if name in c]) for name in names}
    names.sort(key=lambda name: -mean[name])
    half = _MOST_CLASSES // 2
    return (names[:half] + names[-half:] if len(names) > _MOST_CLASSES else names), of


def _means(row: GainRow | None) -> dict[str, float]:
    """For each class, the mean of AP or IoU over a row's units."""
    values: dict[str, list[Observation]] = {}
    for record in row.records if row else ():
        metrics = record.content["metrics"]
        wanted = _prefixes(metrics)
        for key, value in metrics.items():
            prefix, _, name = key.partition("/")
            if prefix in wanted and name and isinstance(value, int | float):
                values.setdefault(name, []).append(observation(record, value))
    return {name: summarise(found).mean for name, found in values.items()}


def _prefixes(metrics: Mapping[str, object]) -> set[str]:
    """Prefix of the headline's per-class figures: ``IoU``, ``AP`` or ``AP_<form>``.

    Records hold average precision in several forms; the headline uses one of them.
    """
    forms = [key.removeprefix("mAP_") for key in metrics if key.startswith("mAP_")]
    same = [form for form in forms if metrics[f"mAP_{form}"] == metrics.get("mAP")]
    return {"IoU", "AP", *(f"AP_{form}" for form in same[:1])}
