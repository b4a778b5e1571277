"""Class by class: what stands beside a headline that is the mean over some classes only."""

from __future__ import annotations

from backbones.common.errors import UserError
from transfer.records import per_image
from transfer.records.outcomes import DetectionOutcomes
from transfer.records.records import Record
from transfer.records.wording import figure
from transfer.report.gains import GainRow, GainTable, observation
from transfer.report.layout import Cell, Missing, Table, table
from transfer.stats.rows import summarise


def class_table(gains: GainTable, name: str) -> Table | None:
    """Every class of a setting, how often it occurs, and each row's mean over its units.

    Args:
        gains: The table.
        name: Its short name.

    Returns:
        None where the headline is the mean over all classes.
    """
    first = gains.rows[0].records[0]
    chosen = per_image.headline_classes(first)
    if not chosen:
        return None
    metric, prefix = gains.setting.metric, _prefix(first)
    counts, what = _counts(first)
    names = sorted(per_image.classes(first), key=lambda one: -counts.get(one, 0))
    unknown = Missing("The per-image results are not here.")
    lines: list[list[Cell]] = [
        [f"mean of the {len(chosen)} with *", "", *_means(gains, metric)],
        [f"mean of all {len(names)}", "", *_means(gains, f"{metric}_all")],
    ]
    for one in names:
        occurs = f"{counts[one]:,}" if one in counts else unknown
        mark = " *" if one in chosen else ""
        lines.append([one + mark, occurs, *_means(gains, f"{prefix}/{one}")])
    columns = ("class", what, *(row.name for row in gains.rows))
    notes = (
        "* stands in the headline. A class that occurs a few times moves by many points with one "
        "of its objects; the mean of all classes is secondary for that reason.",
    )
    return table(name, f"{gains.setting.title}, class by class", columns, lines, notes)


def _means(gains: GainTable, key: str) -> list[Cell]:
    """A figure's mean over each row's units: fine-tunings averaged within a classifier first."""
    return [_mean(row, key) for row in gains.rows]


def _mean(row: GainRow, key: str) -> Cell:
    values = [record.content["metrics"].get(key) for record in row.records]
    if any(value is None for value in values):
        return Missing("The class is not in the test set, or a record lacks its figure.")
    seen = [observation(r, value) for r, value in zip(row.records, values, strict=True)]
    return figure(summarise(seen).mean)


def _prefix(record: Record) -> str:
    if record.cell["task"] == "segmentation":
        return "IoU"
    return f"AP_{per_image.evaluator(record).get('form', '11points')}"


def _counts(record: Record) -> tuple[dict[str, int], str]:
    """How often each class occurs in the test set, and what was counted."""
    is_boxes = record.cell["task"] == "detection"
    what = "boxes tested on" if is_boxes else "images tested on that show it"
    try:
        found = per_image.outcomes(record)
    except UserError:
        return {}, what
    if isinstance(found, DetectionOutcomes):
        occurs = found.positives.sum(axis=0)
    else:
        occurs = (found.labelled > 0).sum(axis=0)
    return dict(zip(per_image.classes(record), map(int, occurs), strict=True)), what
