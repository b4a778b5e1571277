"""Tables of gains, laid out: alone, or line by line beside the paper's Tables 8 and 9."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from backbones.zoo import paper_figures, zoo
from transfer.protocols.protocols import QUICK, names
from transfer.records import imported
from transfer.records.comparable import Setting
from transfer.records.records import Record, measure
from transfer.records.wording import figure, interval, signed
from transfer.report.gains import GainRow, GainTable, observation, paper_row
from transfer.report.image_noise import RowNoise, noise_sentences
from transfer.report.layout import Cell, Missing, Table, table
from transfer.report.remarks import PAPER_PROTOCOL, is_papers_protocol, judged_agreement, remarks
from transfer.stats.rows import RowResult
from transfer.stats.summary import summarise

_TITLES = {8: "Faster R-CNN on Pascal VOC", 9: "FCN on ADE20K"}
_HEADLINES = {8: ("voc_map", "mAP", "11points"), 9: ("miou", "mIoU", "")}
_NOT_JUDGED = Missing(
    "Agreement is judged only on the paper's data and protocol, if our gain has an interval."
)
_NO_TOP1 = "Top-1 unknown."
_MORE = "run more seeds (--seed 1, or a suite's seeds)"
_ONE_RUN = f"One fine-tuning gives no interval and no verdict; {_MORE}."
_UNKNOWN_SPREADS = (
    "Unknown: separating it needs several classifiers, one of them fine-tuned twice or more.",
    f"No classifier was fine-tuned twice; {_MORE}.",
)
_DRAWN_ANEW = "Every run draws its own random weights: the spread is between runs, not within."
_METRIC_DATA = {"mAP": "VOC", "mIoU": "ADE20K"}


def gain_table(gains: GainTable, name: str, noise: Sequence[RowNoise] = ()) -> Table:
    """Every row of a setting, with mean, gain and verdict.

    Args:
        gains: The table.
        name: Its short name.
        noise: The noise of the test images, for the notes; empty if it was not computed.
    """
    metric = gains.setting.metric
    columns = (
        "backbone",
        "top-1",
        gains.setting.measure,
        "95 % interval",
        "gain",
        "simultaneous 95 %",
        "verdict",
        "classifiers",
        "fine-tunings",
        "spread between classifiers",
        "spread of fine-tunings",
        f"paper's gain on {_METRIC_DATA.get(metric, 'its data')}",
    )
    rows = [_line(gains, row) for row in gains.rows]
    title = gains.setting.title + f", against {gains.baseline}"
    notes = (*remarks(gains), *noise_sentences(gains, noise))
    return table(name, title=title, columns=columns, rows=rows, notes=notes)


def _line(gains: GainTable, row: GainRow) -> list[Cell]:
    result = row.statistics
    between, within = _UNKNOWN_SPREADS if result.classifiers else (_DRAWN_ANEW, _DRAWN_ANEW)
    return [
        row.name,
        _known(figure, row.top1, _NO_TOP1),
        *_measured(gains, row),
        str(result.classifiers),
        str(result.fine_tunings),
        _known(figure, result.sd_between, between),
        _known(figure, result.sd_within, within),
        _of_paper(gains, row),
    ]


def _known(write: Callable[[float | None], str], value: float | None, reason: str) -> Cell:
    return Missing(reason) if value is None else write(value)


def _of_paper(gains: GainTable, row: GainRow) -> Cell:
    if row.name == gains.baseline:
        return "baseline"
    metric = gains.setting.metric
    reason = f"The paper does not report {metric} of this row."
    if row.paper is not None:
        reason = f"The paper does not report {metric} of {gains.baseline}, so there is no gain."
    return _known(signed, row.paper_gain, reason)


def _measured(gains: GainTable, row: GainRow) -> list[Cell]:
    """Mean, interval, gain, its interval, verdict."""
    result = row.statistics
    why = _why_no_interval(result)
    own = _interval(result.ci_low, result.ci_high, why)
    head: list[Cell] = [figure(result.mean), own]
    if row.name == gains.baseline:
        return [*head, "baseline", "baseline", "baseline"]
    return [
        *head,
        _known(signed, result.gain, f"{gains.baseline} has no record in this setting."),
        _interval(
            result.gain_low,
            result.gain_high,
            why if result.no_claim else _sentence(gains.analysis.reason),
        ),
        result.verdict or "no claim",
    ]


def _interval(low: float | None, high: float | None, why: str) -> Cell:
    return Missing(why) if low is None or high is None else interval(low, high)


def _why_no_interval(result: RowResult) -> str:
    """The reason for a missing interval: a single run, or several runs with equal figures."""
    return _ONE_RUN if result.n == 1 else _sentence(result.no_claim or "")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def beside_the_paper(
    number: int, *, name: str, gains: GainTable | None, data: str, notes: tuple[str, ...]
) -> Table:
    """Table 8 or 9: the paper's lines beside ours, then rows that the paper lacks.

    Args:
        number: 8 or 9.
        name: The table's short name.
        gains: Our results on the paper's data, in one setting; None if there are none.
        data: Name of the paper's data set.
        notes: Notes on the paper's lines.
    """
    field, metric, form = _HEADLINES[number]
    accuracy = ("pixAcc, paper", "pixAcc, ours") if number == 9 else ()
    columns = (
        "refinement",
        "backbone",
        "top-1, paper",
        "top-1, these weights",
        *accuracy,
        f"{measure(metric, form)}, paper",
        f"{gains.setting.measure if gains else measure(metric, form)}, ours",
        "95 % interval",
        "gain, ours",
        "simultaneous 95 %",
        "verdict",
        "fine-tunings",
        "gain, paper",
        "paper's gain",
    )
    lines = paper_figures.table(number)
    left = {row.name: row for row in gains.rows} if gains else {}
    aliases = {paper_row(name): name for name in left}
    rows = []
    for line in lines:
        of_paper = [line["top1"], *([line["pixacc"]] if number == 9 else []), line[field]]
        gain = float(line[field]) - float(lines[0][field])
        name_of_ours = line["row"] if line["row"] in left else aliases.get(line["row"], "")
        row = left.pop(name_of_ours, None)
        missing = Missing(_how_to_run(line["row"], number, data, gains.setting if gains else None))
        blank: list[Cell] = [missing] * (9 if number == 9 else 8)
        ours = _cells(gains, row) if gains and row else blank
        rows.append(
            _woven(
                [line["refinement"], line["row"]],
                of_paper=of_paper,
                ours=ours,
                gain=signed(gain),
                number=number,
            )
        )
    if gains:
        rows += [_beyond_the_paper(gains, row, number) for row in left.values()]
    setting = f", {gains.setting.title}" if gains else ""
    title = f"Table {number}. {_TITLES[number]}{setting}"
    setting_notes = _beside_other_figures(gains) if gains else ()
    return table(name, title=title, columns=columns, rows=rows, notes=(*setting_notes, *notes))


def _beside_other_figures(gains: GainTable) -> list[str]:
    """Remarks; the first says if the paper's figures come from another protocol."""
    if is_papers_protocol(gains.setting):
        return remarks(gains)
    return [
        "Not the paper's protocol: compare gains with the paper's gains, not absolute figures.",
        *remarks(gains),
    ]


def _beyond_the_paper(gains: GainTable, row: GainRow, number: int) -> list[Cell]:
    """A row without a line in the paper: the paper lacks it, or the line belongs to its target."""
    target, ours = paper_row(row.name), _cells(gains, row)
    nothing = Missing(f"Table {number} of the paper does not have this row.")
    if target in {line["row"] for line in paper_figures.table(number)}:
        nothing = Missing(f"{row.name} is an alias of {target}: that line has the paper's figures.")
        ours = [*ours[:-1], nothing]  # that line has the agreement too
    of_paper = [nothing] * (3 if number == 9 else 2)
    return _woven(["", row.name], of_paper=of_paper, ours=ours, gain=nothing, number=number)


def _woven(
    head: Sequence[str], *, of_paper: Sequence[Cell], ours: Sequence[Cell], gain: Cell, number: int
) -> list[Cell]:
    """The paper's figures and ours, side by side."""
    pairs = 3 if number == 9 else 2
    beside = [cell for pair in zip(of_paper, ours[:pairs], strict=True) for cell in pair]
    *rest, agrees = ours[pairs:]
    first = gain if head[0] != paper_figures.table(number)[0]["refinement"] else "baseline"
    return [*head, *beside, *rest, first, agrees]


def _cells(gains: GainTable, row: GainRow) -> list[Cell]:
    """Top-1, pixAcc if it is measured, mean … verdict, fine-tunings, agreement."""
    top1 = _known(figure, row.top1, _NO_TOP1)
    judged = judged_agreement(gains, row)
    agrees: Cell = _NOT_JUDGED
    if row.name == gains.baseline:
        agrees = "baseline"
    elif judged and judged.verdict:
        agrees = f"{judged.verdict} ({interval(judged.low, judged.high)})"
    accuracy: list[Cell] = []
    if gains.setting.task == "segmentation":
        accuracy = [_pixel_accuracy(row.records)]
    runs = str(row.statistics.fine_tunings)
    return [top1, *accuracy, *_measured(gains, row), runs, agrees]


def _pixel_accuracy(records: tuple[Record, ...]) -> Cell:
    known = [(r, r.content["metrics"].get("pixAcc")) for r in records]
    seen = [observation(record, value) for record, value in known if value is not None]
    if not seen:
        return Missing("The records have no pixel accuracy.")
    of_units = summarise(seen)
    low, high = of_units.ci_low, of_units.ci_high
    ends = f" ({interval(low, high)})" if low is not None and high is not None else ""
    return f"{figure(of_units.mean)}{ends}"


def _how_to_run(row: str, number: int, data: str, setting: Setting | None) -> str:
    """The command that fills a line of this setting's table, or else of the paper's."""
    if setting and setting.protocol == imported.PROTOCOL:
        command = f"transfer import WORK_DIR --backbone {row} --data {data}"
        return f"No run of {row} was imported; '{command}' imports one."
    variant = zoo.find(row)
    if setting and json.loads(setting.overrides):
        if variant.weights is None:
            return f"{_to_be_trained(variant)} add the file to the suite of the other rows."
        return f"Not run with these settings; add {row} to the suite of the other rows."
    task = "detection" if number == 8 else "segmentation"
    protocol = setting.protocol if setting else PAPER_PROTOCOL
    named = protocol if protocol in names(task) else f"{protocol}.py"  # else a file of the user's
    command = f"transfer run --backbone {row} --task {task} --data {data} --protocol {named}"
    if setting and (setting.precision != "float32" or protocol in QUICK):
        command += f" --precision {setting.precision}"  # quick chooses it by machine
    if variant.weights is None:
        return f"{_to_be_trained(variant)} '{command} --weights FILE'."
    return f"Not run on {data}; run '{command}'."


def _to_be_trained(row: zoo.Variant) -> str:
    return f"The weights of {row.name} are not public: train it ('{row.how_to_train()}'), then"
