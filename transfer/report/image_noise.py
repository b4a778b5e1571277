"""Noise of the test set for each gain, from the per-image results beside the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from backbones.common.errors import UserError
from transfer.records import per_image
from transfer.records.comparable import Setting, classifier
from transfer.records.outcomes import SegmentationOutcomes
from transfer.records.per_image import Outcomes
from transfer.records.records import Record
from transfer.records.wording import interval, signed
from transfer.report.gains import GainRow, GainTable
from transfer.stats.image_halves import ImageNoise, metric_value, paired_halves
from transfer.stats.total import total_interval

_FORMS: dict[str, Literal["mAP 11-point", "mAP area"]] = {
    "11points": "mAP 11-point",
    "area": "mAP area",
}
_SAME = 0.05  # points; tolerance between a record and its per-image results


@dataclass(frozen=True)
class RowNoise:
    """The noise of one row's gain, or why it is unknown.

    Attributes:
        row: Its name.
        noise: Noise of the gain over draws of the test images; None with a ``reason``.
        reason: One sentence.
    """

    row: str
    noise: ImageNoise | None
    reason: str = ""


Noises = Mapping[tuple[Setting, str], Sequence[RowNoise]]
"""The noise of several tables, by setting and baseline."""


def noises_of(tables: Iterable[GainTable]) -> Noises:
    """The noise of every gain of several tables, which takes minutes on large test sets."""
    return {(table.setting, table.baseline): image_noise(table) for table in tables}


def image_noise(table: GainTable) -> list[RowNoise]:
    """The noise of every gain of a table.

    The per-image results of each fine-tuning are read. A row has no noise if its results are
    missing or do not reproduce the figures of its records.
    """
    base = next((row for row in table.rows if row.name == table.baseline), None)
    others = [row for row in table.rows if row.name != table.baseline]
    if base is None:
        return []
    try:
        before = outcomes_of(base, table.setting.metric)
    except UserError as error:
        return [RowNoise(row.name, None, str(error)) for row in others]
    return [_of_row(row, before, table.setting.metric) for row in others]


def noise_sentences(table: GainTable, noise: Sequence[RowNoise]) -> list[str]:
    """The noise of a table in sentences.

    Args:
        table: The table.
        noise: The noise of its gains.
    """
    known: list[str] = []
    together: list[str] = []
    silent: dict[str, list[str]] = {}
    for one in noise:
        if one.noise:
            alone = interval(one.noise.low, one.noise.high)
            known.append(f"{one.row} {signed(one.noise.difference)} ({alone})")
            images, draws = one.noise.images, one.noise.resamples
            if ends := total(table, one):
                gain = row_of(table, one.row).statistics.gain
                together.append(f"{one.row} {signed(gain)} ({interval(*ends)})")
        else:
            silent.setdefault(one.reason, []).append(one.row)
    lines = [
        f"Noise of the test images unknown for {', '.join(rows)}: {r}" for r, rows in silent.items()
    ]
    if known:
        lines.insert(
            0,
            f"Gains with 95 % intervals over test images alone ({draws} halves of "
            f"{images} images): {'; '.join(known)}.",
        )
    if together:
        lines.insert(
            0,
            "Gains with 95 % intervals over classifiers, seeds and test images together: "
            f"{'; '.join(together)}. The table's own intervals are for these test images only.",
        )
    return lines


def total(table: GainTable, one: RowNoise) -> tuple[float, float] | None:
    """A gain's interval over classifiers, seeds and test images together.

    Args:
        table: The table.
        one: The noise of one of its gains.

    Returns:
        Its ends, or None if the seeds or the test images give no interval.
    """
    row = row_of(table, one.row).statistics
    if one.noise is None or row.gain is None or row.gain_low is None or row.gain_high is None:
        return None
    rows = 1 if row.control else max(1, len(table.analysis.family))
    low, high = (end - one.noise.difference + row.gain for end in (one.noise.low, one.noise.high))
    return total_interval(row.gain, (row.gain_low, row.gain_high), (low, high), rows)


def row_of(table: GainTable, name: str) -> GainRow:
    """A row of a table by its name."""
    return next(row for row in table.rows if row.name == name)


def _of_row(row: GainRow, before: list[Any], metric: str) -> RowNoise:
    try:
        after: list[Any] = outcomes_of(row, metric)
        kind: Any = metric_of(row.records[0], metric)
        return RowNoise(row.name, paired_halves(before, after, kind))
    except UserError as error:
        return RowNoise(row.name, None, str(error))


def outcomes_of(row: GainRow, metric: str) -> list[list[Outcomes]]:
    """Outcomes of every fine-tuning by classifier; the gain is the mean over classifiers.

    Raises:
        UserError: They are missing, malformed, or from another run.
    """
    units: dict[str, list[Outcomes]] = {}
    for record in row.records:
        outcomes = _headline_outcomes(record, metric)
        units.setdefault(classifier(record), []).append(outcomes)
    return list(units.values())


def _headline_outcomes(record: Record, metric: str) -> Outcomes:
    """Per-image results of the classes in the headline.

    Raises:
        UserError: They are missing, malformed, or from another run.
    """
    names = per_image.classes(record)
    wanted = [names.index(name) for name in per_image.headline_classes(record)]
    outcomes = _of_classes(per_image.outcomes(record), wanted)
    found = metric_value(outcomes, metric_of(record, metric))
    if not abs(found - record.value) < _SAME:
        raise UserError(
            f"the per-image results beside '{record.path.name}' give {found:.2f}, but the record "
            "has "
            f"{record.value:.2f}."
        )
    return outcomes


def metric_of(record: Record, metric: str) -> Any:
    """The metric of a record as :mod:`transfer.stats.image_halves` names it.

    Raises:
        UserError: Its form of average precision cannot be resampled.
    """
    if record.cell["task"] == "segmentation":
        return metric
    form = per_image.evaluator(record).get("form", "11points")
    if form not in _FORMS:
        raise UserError(f"the form '{form}' of average precision cannot be resampled.")
    return _FORMS[form]


def _of_classes(outcomes: Any, classes: list[int]) -> Any:
    """Outcomes of the given classes only, renumbered; of all classes if none are given."""
    if not classes:
        return outcomes
    if isinstance(outcomes, SegmentationOutcomes):
        kept = {name: getattr(outcomes, name)[:, classes]
                for name in ("intersection", "predicted", "labelled")}  # fmt: skip
        return replace(outcomes, **kept)
    numbers = np.full(outcomes.positives.shape[1], -1)
    numbers[classes] = np.arange(len(classes))
    inside = numbers[outcomes.label] >= 0
    return replace(
        outcomes,
        positives=outcomes.positives[:, classes],
        label=numbers[outcomes.label[inside]],
        **{n: getattr(outcomes, n)[inside] for n in ("image", "score", "correct", "ignored")},
    )
