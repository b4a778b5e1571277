"""The images of a report: predictions of the row that gains most, and of its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backbones.common.errors import UserError
from transfer.cli.show import data_of
from transfer.finetune.predict import FinishedCell
from transfer.records.records import Record
from transfer.report.answer import asked
from transfer.report.gains import GainTable
from transfer.report.image_noise import row_of
from transfer.report.predictions.colours import choose_colours
from transfer.report.predictions.lettering import legible
from transfer.report.predictions.on_page import ShownImage, pick
from transfer.report.predictions.picks import image_figures
from transfer.report.predictions.sheet import sheet


def shown_images(
    tables: Sequence[GainTable], count: int, *, data: str | None, data_root: Path, work: Path
) -> list[ShownImage]:
    """The best, worst and most changed test images of one setting.

    Args:
        tables: All tables of the setting; the first with a row in question counts.
        count: Number of images of each kind.
        data: The user's own data set, if the runs used one.
        data_root: Folder that holds the data sets.
        work: Work directory of the runs.

    Raises:
        UserError: Nothing was compared, or weights, images or per-image results are missing.
    """
    table = next((one for one in tables if asked(one)), None)
    if table is None:
        raise UserError("no row was compared with a baseline.")
    row = max(asked(table), key=lambda one: abs(one.statistics.gain or 0.0))
    first, second = _pair(row.records, row_of(table, table.baseline).records, work)
    images = data_of(first, data, data_root)
    cells = [FinishedCell(one, images, work / one.path.stem) for one in (first, second)]
    ours, theirs = (
        image_figures(one.path.with_suffix(".npz"), table.setting.task, cell.names)
        for one, cell in zip((first, second), cells, strict=True)
    )
    picked = pick(ours, theirs, count)
    places = [index for _, index in picked]
    compared = [
        replace(after, title=row.name, others=((table.baseline, before.found),))
        for after, before in zip(*(cell.compare(places) for cell in cells), strict=True)
    ]
    classes = [legible(name) for name in cells[0].classes]
    colours = choose_colours(compared, classes)
    return [
        ShownImage(
            kind=kind,
            name=comparison.name,
            scores={row.name: float(ours[index]), table.baseline: float(theirs[index])},
            drawn=sheet(comparison, classes, colours),
        )
        for (kind, index), comparison in zip(picked, compared, strict=True)
    ]


def _pair(row: Sequence[Record], baseline: Sequence[Record], work: Path) -> tuple[Record, Record]:
    """A run of the row and one of the baseline, with the same seed where there are such runs.

    Raises:
        UserError: No run of one of them has left weights.
    """
    left = [
        [record for record in records if (work / record.path.stem).is_dir()]
        for records in (row, baseline)
    ]
    if not all(left):
        raise UserError(
            f"'{work.absolute()}' has no weights of its runs; name the work directory of the runs "
            "with --work-dir."
        )
    pairs = [(one, other) for one in left[0] for other in left[1]]
    same = [pair for pair in pairs if pair[0].cell["seed"] == pair[1].cell["seed"]]
    return (same or pairs)[0]
