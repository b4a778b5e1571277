"""The paper's nine tables, with our figures beside the paper's.

Results on other images than the paper's are in separate tables after them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backbones.common.errors import UserError
from backbones.training.known_images import IMAGENET, PLACES
from backbones.zoo import paper_figures, zoo
from transfer.records.wording import figure, interval
from transfer.report import gain_layout
from transfer.report.across_data import across_tables
from transfer.report.classification import AUTHORS_CODE, Group
from transfer.report.collection import Collection
from transfer.report.gains import GainTable
from transfer.report.layout import Cell, Missing, Table, table
from transfer.report.remarks import PAPER_DATA

NUMBERS = tuple(range(1, 10))


@dataclass(frozen=True)
class Column:
    """A figure of the paper, and the source of ours.

    Attributes:
        heading: Its heading.
        field: Its column in the paper's CSV.
        row: The CSV column with the row of the zoo; empty if the paper quotes the figure.
        ours: ``top1``, ``top5``, ``minutes_per_epoch``, ``parameters`` or ``multiply_adds``.
    """

    heading: str
    field: str
    row: str = "row"
    ours: str = ""


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One of the paper's tables of classifiers.

    Attributes:
        title: Its subject.
        labels: The CSV columns that name a line.
        columns: Its figures.
        data: The data set of its figures.
        suite: The suite that fills it, or empty.
        notes: Remarks for readers, such as contradictions in the paper.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    data: str = IMAGENET
    suite: str = ""
    notes: tuple[str, ...] = ()


def _accuracy(prefix: str = "", row: str = "row", heading: str = "") -> tuple[Column, ...]:
    return (
        Column(f"{heading}top-1", f"{prefix}top1", row, "top1"),
        Column(f"{heading}top-5", f"{prefix}top5", row, "top5"),
    )


_FLOPS = Column("G mult-adds", "flops_g", ours="multiply_adds")
CLASSIFICATION = {
    1: Classification(
        title="Cost and accuracy",
        labels=("model",),
        columns=(_FLOPS, *_accuracy()),
        notes=("FLOPs are multiply-adds.",),
    ),
    2: Classification(
        title="Baselines",
        labels=("model",),
        columns=(
            *_accuracy(),
            Column("reference top-1", "reference_top1", ""),
            Column("reference top-5", "reference_top5", ""),
        ),
    ),
    3: Classification(
        title="Efficient training against the baseline",
        labels=("model",),
        columns=tuple(
            column
            for kind in ("efficient", "baseline")
            for column in (
                Column(
                    f"{kind} min/epoch",
                    f"{kind}_minutes_per_epoch",
                    f"{kind}_row",
                    "minutes_per_epoch",
                ),
                *_accuracy(f"{kind}_", f"{kind}_row", f"{kind} "),
            )
        ),
    ),
    4: Classification(
        title="Efficient training, step by step (each line has the tricks above it)",
        labels=("heuristic",),
        columns=tuple(
            column
            for size in ("256", "1024")
            for column in _accuracy(f"batch_{size}_", f"batch_{size}_row", f"batch {size} ")
        ),
        suite="table4",
    ),
    5: Classification(
        title="Model tweaks",
        labels=("model",),
        columns=(Column("M parameters", "params_m", ours="parameters"), _FLOPS, *_accuracy()),
        suite="table5",
        notes=("The paper's tables disagree on ResNet-50's FLOPs: 3.9 G in Table 1, 3.8 G here.",),
    ),
    6: Classification(
        title="Training refinements",
        labels=("network", "refinement", "version"),
        columns=_accuracy(),
        suite="table6",
        notes=(
            "The last three lines of a network are alternatives on top of label smoothing.",
            "ResNet-50-D is listed twice: single runs in v2, means of four runs in CVPR.",
        ),
    ),
    7: Classification(
        title="MIT Places365",
        labels=("model",),
        columns=(
            *_accuracy("val_", heading="validation "),
            Column("test top-1", "test_top1", ""),
            Column("test top-5", "test_top5", ""),
        ),
        data=PLACES,
        notes=(
            "Labels of the test images are not public, so our figures are on the validation "
            "images.",
        ),
    ),
}
TRANSFER = {8: "detection", 9: "segmentation"}
"""Tasks of the two tables of fine-tunings."""


def paper_table(number: int, found: Collection) -> list[Table]:
    """One of the paper's tables, then results on other images.

    Args:
        number: 1 to 9.
        found: All results.
    """
    return [*beside_the_paper(number, found), *on_other_images(number, found)]


def beside_the_paper(number: int, found: Collection) -> list[Table]:
    """One of the paper's tables with ours on the same images, once for each setting."""
    if number in TRANSFER:
        notes = tuple(_line_notes(number, ("refinement",)))
        data = PAPER_DATA[TRANSFER[number]]
        return [
            gain_layout.beside_the_paper(
                number, name=_name(number, place), gains=gains, data=data, notes=notes
            )
            for place, gains in enumerate(_on_its_data(number, found) or [None])
        ]
    spec = CLASSIFICATION[number]
    own = [group for group in found.groups if group.data == spec.data]
    return [
        _beside_the_paper(number, spec=spec, group=group, found=found, place=place)
        for place, group in enumerate(own or [None])
    ]


def on_other_images(number: int, found: Collection) -> list[Table]:
    """Results for a table on other images than the paper's, then over all data sets together."""
    if number in TRANSFER:
        own = _on_its_data(number, found)
        task = TRANSFER[number]
        other = [one for one in found.gains if one.setting.task == task and one not in own]
        shown = [
            gain_layout.gain_table(gains, f"{_name(number, place)}-{gains.setting.data}")
            for place, gains in enumerate(other)
        ]
        return [*shown, *across_tables([one for one in found.gains if one.setting.task == task])]
    spec = CLASSIFICATION[number]
    if spec.data == PLACES:  # the other tables show these rows already
        return []
    rows = {line[c.row] for line in paper_figures.table(number) for c in spec.columns if c.row}
    other_groups = [g for g in found.groups if g.data != spec.data and g.rows.keys() & rows]
    return [
        _on_other_images(number, spec=spec, group=group, found=found, place=place)
        for place, group in enumerate(other_groups)
    ]


def _on_its_data(number: int, found: Collection) -> list[GainTable]:
    """The tables of gains with the data and baseline of Table 8 or 9."""
    task, baseline = TRANSFER[number], paper_figures.table(number)[0]["row"]
    wanted = (task, PAPER_DATA[task], baseline)
    return [t for t in found.gains if (t.setting.task, t.setting.data, t.baseline) == wanted]


def _beside_the_paper(
    number: int, *, spec: Classification, group: Group | None, found: Collection, place: int
) -> Table:
    columns = [*spec.labels]
    for column in spec.columns:
        columns += [f"{column.heading}, paper", f"{column.heading}, ours"]
        if not column.row:
            columns.pop()
    rows = []
    for line in paper_figures.table(number):
        cells: list[Cell] = [line[label] for label in spec.labels]
        for column in spec.columns:
            cells.append(_of_paper(line, column))
            if column.row:
                cells.append(
                    _ours(line[column.row], column=column, spec=spec, group=group, found=found)
                )
        rows.append(cells)
    suffix = f", trained with {group.training}" if group else ""
    title = f"Table {number}. {spec.title}, {spec.data}{suffix}"
    notes = (*spec.notes, *_line_notes(number, spec.labels))
    return table(_name(number, place), title=title, columns=columns, rows=rows, notes=notes)


def _on_other_images(
    number: int, *, spec: Classification, group: Group, found: Collection, place: int
) -> Table:
    """Our figures alone, because the paper's are on other images."""
    columns = [*spec.labels, *(c.heading for c in spec.columns if c.row)]
    lines = {
        tuple(line[label] for label in spec.labels): line for line in paper_figures.table(number)
    }
    rows = []
    for labels, line in lines.items():
        if {line[c.row] for c in spec.columns if c.row} & group.rows.keys():
            cells = [
                _ours(line[c.row], column=c, spec=spec, group=group, found=found)
                for c in spec.columns
                if c.row
            ]
            rows.append([*labels, *cells])
    title = f"Table {number} on {group.data}, not {spec.data}. {spec.title}; {group.training}"
    note = f"Measured on {group.data}; do not compare with the paper's figures."
    return table(
        f"{_name(number, place)}-{group.data}",
        title=title,
        columns=columns,
        rows=rows,
        notes=(note,),
    )


def _of_paper(line: dict[str, str], column: Column) -> Cell:
    value = line[column.field]
    if not value:
        return Missing("Not reported in the paper.")
    spread = line.get(f"{column.field}_std")
    return f"{value} ± {spread}" if spread else value


def _ours(
    row: str, *, column: Column, spec: Classification, group: Group | None, found: Collection
) -> Cell:
    if not row:
        return Missing("The paper quotes this network; it is not a row of this project.")
    if column.ours in ("parameters", "multiply_adds"):
        return _cost(row, column.ours, found)
    value = group.mean(row, column.ours) if group else None
    if group is None or value is None:
        return Missing(_how_to_train(row, spec, group))
    if column.ours != "top1":
        return figure(value)
    low, high = group.top1_interval(row)
    seeds = len(group.rows[row])
    detail = f"{interval(low, high)}; {seeds} seeds" if low is not None else "one seed"
    return f"{figure(value)} ({detail})"


def _cost(row: str, what: str, found: Collection) -> Cell:
    architecture = zoo.find(row).architecture
    if architecture not in found.costs:
        return Missing(
            f"No record has the cost of {architecture}; 'transfer backbones {row}' computes it."
        )
    parameters, multiply_adds = found.costs[architecture]
    return figure(parameters / 1e6 if what == "parameters" else multiply_adds / 1e9)


def _how_to_train(row: str, spec: Classification, group: Group | None) -> str:
    data = group.data if group else spec.data
    place = {IMAGENET: "IMAGENET", PLACES: "PLACES365"}.get(data, "FOLDER")
    command = zoo.find(row).how_to_train(place, spec.suite)
    changed = group.changed if group else ()
    if not changed:
        return f"Not trained on {data}; run '{command}'."
    if AUTHORS_CODE in changed:
        command += " --authors-code"
    others = changed != (AUTHORS_CODE,)
    rest = ", with the other settings in the title" if others else ""
    return f"Not trained in this way on {data}; run '{command}'{rest}."


def _line_notes(number: int, labels: tuple[str, ...]) -> Iterator[str]:
    """Notes on single lines in the paper's CSV; lines with the same note share it."""
    lines: dict[str, list[str]] = {}
    for line in paper_figures.table(number):
        if line["note"]:
            lines.setdefault(line["note"], []).append(" ".join(line[name] for name in labels))
    for note, names in lines.items():
        yield f"{', '.join(names)}: {note}."


def _name(number: int, place: int) -> str:
    return f"table{number}" + (f"-{place + 1}" if place else "")


def numbers(asked: str) -> tuple[int, ...]:
    """``"all"`` or one number.

    Raises:
        UserError: The table does not exist.
    """
    if asked == "all":
        return NUMBERS
    if asked.isdecimal() and int(asked) in NUMBERS:
        return (int(asked),)
    raise UserError(f"The paper has no table '{asked}': choose 1 to 9, or all.")
