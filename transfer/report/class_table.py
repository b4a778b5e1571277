"""Class by class: the figures behind a headline, and the classes that it averages."""

from __future__ import annotations

from backbones.common.errors import UserError
from transfer.records import per_image
from transfer.records.outcomes import DetectionOutcomes
from transfer.records.records import Record, measure
from transfer.records.wording import figure
from transfer.report.gains import GainRow, GainTable, observation
from transfer.report.layout import Cell, Missing, Table, table
from transfer.stats.summary import summarise


def class_table(gains: GainTable, name: str) -> Table | None:
    """Every class of a setting with its number of occurrences and each row's mean over its units.

    Args:
        gains: The table.
        name: Its short name.

    Returns:
        None if the records have no per-class figures, such as imported ones.
    """
    first = gains.rows[0].records[0]
    chosen = per_image.headline_classes(first)
    metric, prefix = gains.setting.metric, _prefix(first)
    counts, what = _counts(first)
    known = [one for one in per_image.classes(first) if _is_recorded(gains, f"{prefix}/{one}")]
    if not known:
        return None
    names = sorted(known, key=lambda one: -counts.get(one, 0))
    unknown = Missing("The per-image results are missing.")
    lines: list[list[Cell]] = [[f"mean of all {len(names)}", "", *_means(gains, metric)]]
    if chosen:
        lines = [
            [f"mean of the {len(chosen)} with *", "", *_means(gains, metric)],
            [f"mean of all {len(names)}", "", *_means(gains, f"{metric}_all")],
        ]
    for one in names:
        occurs = f"{counts[one]:,}" if one in counts else unknown
        mark = " *" if one in chosen else ""
        lines.append([one + mark, occurs, *_means(gains, f"{prefix}/{one}")])
    columns = ("class", what, *(row.name for row in gains.rows))
    notes = [
        "In a class with few objects, a single object changes the figure by many points.",
        *(
            ["* marks the classes in the headline; the mean of all classes is secondary."]
            if chosen
            else []
        ),
    ]
    figures = measure("AP", gains.setting.form) if prefix != "IoU" else prefix
    title = f"{gains.setting.title}, class by class: {figures} in %"
    return table(name, title=title, columns=columns, rows=lines, notes=notes)


def _is_recorded(gains: GainTable, key: str) -> bool:
    """Whether any record has the figure of a class."""
    records = (record for row in gains.rows for record in row.records)
    return any(record.content["metrics"].get(key) is not None for record in records)


def _means(gains: GainTable, key: str) -> list[Cell]:
    """A figure's mean over each row's units; fine-tunings of a classifier are averaged first."""
    return [_mean(row, key) for row in gains.rows]


def _mean(row: GainRow, key: str) -> Cell:
    values = [record.content["metrics"].get(key) for record in row.records]
    if any(value is None for value in values):
        return Missing("The class is not in the test set, or a record lacks it.")
    seen = [observation(r, value) for r, value in zip(row.records, values, strict=True)]
    return figure(summarise(seen).mean)


def _prefix(record: Record) -> str:
    if record.cell["task"] == "segmentation":
        return "IoU"
    form = f"AP_{record.form or '11points'}"
    has_form = any(key.startswith(f"{form}/") for key in record.content["metrics"])
    return form if has_form else "AP"  # as in older records


def _counts(record: Record) -> tuple[dict[str, int], str]:
    """Occurrences of each class in the test set, and what was counted."""
    is_boxes = record.cell["task"] == "detection"
    what = "test boxes" if is_boxes else "test images with it"
    try:
        found = per_image.outcomes(record)
    except UserError:
        return {}, what
    if isinstance(found, DetectionOutcomes):
        occurs = found.positives.sum(axis=0)
    else:
        occurs = (found.labelled > 0).sum(axis=0)
    return dict(zip(per_image.classes(record), map(int, occurs), strict=True)), what
