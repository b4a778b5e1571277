"""Gains: the rows of one table, each beside the baseline and beside the paper's gain.

A table is one task, data set, protocol, precision and metric; rows of anything else never stand in
it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backbones.common.errors import UserError
from backbones.zoo import zoo
from backbones.zoo.paper_figures import figures
from transfer.records.records import UNKNOWN, Record, compared
from transfer.stats.rows import RANDOM, Observation, RowResult
from transfer.stats.statistics import TableResult, analyse


@dataclass(frozen=True)
class Setting:
    """What all rows of a table share.

    Attributes:
        task: ``"detection"`` or ``"segmentation"``.
        data: Name of the data set.
        data_fingerprint: Hash of its lists of images.
        protocol: Name of the protocol.
        protocol_version: Hash of what it says.
        precision: ``"float32"`` or ``"bfloat16"``.
        metric: The headline metric.
        overrides: Further settings of the config, as JSON.
    """

    task: str
    data: str
    data_fingerprint: str
    protocol: str
    protocol_version: str
    precision: str
    metric: str
    overrides: str = "[]"

    @property
    def title(self) -> str:
        """What the table is of, for people."""
        told = f"{self.task.capitalize()} on {self.data}, protocol {self.protocol}"
        sample = " (SAMPLE: drawn images, not VOC or ADE20K)" if self.data == "sample" else ""
        changed = "".join(f", {key} = {value}" for key, value in json.loads(self.overrides))
        return f"{told}, {self.precision}{changed}{sample}"

    @classmethod
    def of(cls, record: Record) -> Setting:
        """The table that a record belongs to."""
        cell = record.cell
        names = (
            "task",
            "data",
            "data_fingerprint",
            "protocol",
            "protocol_version",
            "precision",
        )
        overrides = json.dumps(cell.get("overrides", []))
        return cls(
            **{name: cell[name] for name in names}, metric=record.metric, overrides=overrides
        )


@dataclass(frozen=True)
class GainRow:
    """One backbone.

    Attributes:
        name: Row of the zoo, or the user's name.
        architecture: Its network.
        top1: Mean top-1 of the classifiers used, percent; None where it is not known.
        top1_on: The data that it was measured on.
        parameters: Of the classifier.
        multiply_adds: Of the classifier at 224 pixels.
        statistics: Mean, interval, gain, verdict.
        paper: The paper's figure of this metric, or None.
        paper_gain: Over the paper's figure of the baseline, or None.
        records: What it rests on.
    """

    name: str
    architecture: str
    top1: float | None
    top1_on: str
    parameters: int
    multiply_adds: int
    statistics: RowResult
    paper: float | None
    paper_gain: float | None
    records: tuple[Record, ...]


@dataclass(frozen=True)
class GainTable:
    """A table of gains.

    Attributes:
        setting: What its rows share.
        baseline: The row that gains are counted from.
        rows: The baseline first.
        analysis: The statistics of the table as a whole.
        left_out: What could not stand in it, and why.
    """

    setting: Setting
    baseline: str
    rows: tuple[GainRow, ...]
    analysis: TableResult
    left_out: tuple[str, ...]


def gain_tables(records: Iterable[Record], baseline: str) -> list[GainTable]:
    """A table for each setting that occurs, in the order in which they come."""
    groups: dict[Setting, list[Record]] = {}
    for record in records:
        groups.setdefault(Setting.of(record), []).append(record)
    return [gain_table(setting, group, baseline) for setting, group in groups.items()]


def gain_table(setting: Setting, records: Sequence[Record], baseline: str) -> GainTable:
    """One table.

    Args:
        setting: What the records share.
        records: One or more; those that cannot stand beside the others are left out and named.
        baseline: The row that gains are counted from.
    """
    current, former = _of_one_model(records)
    comparable, different = _comparable(current, baseline)
    usable, repeated = _once(comparable)
    by_row: dict[str, list[Record]] = {}
    for record in usable:
        by_row.setdefault(record.cell["backbone"], []).append(record)
    analysis = analyse(
        [observation(record, record.value) for record in usable],
        baseline,
        targets=_targets(by_row, setting.metric, baseline),
    )
    rows = tuple(
        _row(result, by_row[result.row], setting.metric, baseline) for result in analysis.rows
    )
    left_out = (*former, *different, *repeated, *_together(analysis.left_out))
    return GainTable(setting, baseline, rows, analysis, left_out)


def paper_row(name: str) -> str:
    """The row of the zoo that a name stands for: an alias's target, else the name itself."""
    return zoo.meant_by(name)


def observation(record: Record, value: float) -> Observation:
    """A figure of a record, with what it is a figure of."""
    return Observation(record.cell["backbone"], classifier(record), record.cell["seed"], value)


def classifier(record: Record) -> str:
    """What tells the weights apart that were fine-tuned."""
    return record.content["classifier"]["sha256"] or RANDOM


def digest_of_run(record: Record) -> str:
    """Hash of the file that an imported record was made from; empty for one of our own."""
    imported = record.content.get("imported")
    return str(imported.get("sha256", "")) if isinstance(imported, dict) else ""


def _targets(rows: Iterable[str], metric: str, baseline: str) -> dict[str, float]:
    """The paper's gain of each row that has one: what its cost in seeds is asked for."""
    gains = {row: _paper_gain(row, metric, baseline) for row in rows}
    return {row: gain for row, gain in gains.items() if gain}


def _of_one_model(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Of each row the records of its newest model; a sentence about every other.

    A row may have several classifiers, of one network that is fed in one way, or none: then every
    run draws its own weights. What a user's file once said of another model is not averaged with
    what it says now.
    """
    newest: dict[str, dict[str, tuple[Any, Record]]] = {}  # by row and trait, and who told it
    usable: list[Record] = []
    told: dict[tuple[str, str], list[Record]] = {}  # by row and by what is another
    for record in sorted(records, key=_finished, reverse=True):
        row = record.cell["backbone"]
        model, known = _model(record), newest.setdefault(row, {})
        other = next((t for t in model if t in known and model[t] != known[t][0]), None)
        if other is None:
            usable.append(record)
            newest[row] = {t: (v, record) for t, v in model.items()} | known
        else:
            value, first = known[other]
            reason = f"{other} {model[other]}, that of the newest ({first.path.name}) has {value}"
            told.setdefault((row, reason), []).append(record)
    kept = {id(record) for record in usable}
    sentences = [
        f"{_named(row, group)} is of another model: it has {reason}; give the file of each model "
        "a name of its own."
        for (row, reason), group in told.items()
    ]
    return [record for record in records if id(record) in kept], sentences


def _model(record: Record) -> dict[str, Any]:
    """What a row has one of, as far as it is known: an imported run tells none surely."""
    told = record.content["classifier"]
    kind = "random" if classifier(record) == RANDOM else "trained"
    model: dict[str, Any] = {"weights of the kind": f"'{kind}'"}
    if told["architecture"] != UNKNOWN:
        model["the architecture"] = told["architecture"]
    for name in ("mean", "std"):
        values = told.get(name)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            # 0 to 255; files of one model may round it otherwise
            model[f"the {name}"] = [round(value, 2) for value in values]
    return model


def _finished(record: Record) -> str:
    return str(record.content.get("finished", ""))


def _named(row: str, records: Sequence[Record]) -> str:
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return f"{row} ({records[0].path.name}{more})"


def _comparable(records: Sequence[Record], baseline: str) -> tuple[list[Record], list[str]]:
    """Records that were trained alike but for the backbone; most of the baseline's decide."""
    of_baseline = [record for record in records if record.cell["backbone"] == baseline]
    times = Counter(map(_trained, of_baseline))
    reference = max(of_baseline or records[:1], key=lambda r: (times[_trained(r)], _finished(r)))
    wanted = _trained(reference)
    usable: list[Record] = []
    told: dict[tuple[str, Any], list[Record]] = {}  # by row and by how it was trained
    for record in records:
        trained = _trained(record)
        if _are_alike(trained, wanted):
            usable.append(record)
        else:
            told.setdefault((record.cell["backbone"], trained), []).append(record)
    return usable, [_refusal(reference, group) for group in told.values()]


def _trained(record: Record) -> tuple[str, int | None, float | None]:
    """The config, and what the number of processes made of it: the whole batch, and the rate.

    None where they are not known: an imported run tells no rate, and the batch by its log alone.
    """
    training = record.content["training"]
    return record.comparable, training.get("batch_size"), training.get("lr")


def _are_alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a is None or b is None or a == b for a, b in pairs)


def _refusal(reference: Record, records: Sequence[Record]) -> str:
    """Why records that were all fine-tuned in one other way are not in the table."""
    first = records[0]
    try:
        difference = _first_difference(_rest(reference), _rest(first))
    except UserError as error:
        difference = str(error)
    (config, batch, lr), (wanted, own_batch, own_lr) = _trained(first), _trained(reference)
    if config == wanted:
        rate, own_rate = (f" at a rate of {lr}", f" at {own_lr}") if lr and own_lr else ("", "")
        difference = (
            f"a batch of {batch} in all{rate}, the baseline's is {own_batch}{own_rate}; both need "
            "the same number of processes."
        )
    row = first.cell["backbone"]
    return f"{_named(row, records)} was fine-tuned differently: {difference}"


def _once(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Each fine-tuning once: the first of its records, by name."""
    kept: dict[tuple[str, str, int], Record] = {}
    runs: dict[str, Record] = {}
    repeated = []
    for record in records:
        digest = digest_of_run(record)
        if digest and (first := runs.setdefault(digest, record)) is not record:
            repeated.append(
                f"{record.path.name} was imported from the same run as {first.path.name}; it "
                "counts once, so remove one of them."
            )
            continue
        key = (record.cell["backbone"], classifier(record), record.cell["seed"])
        first = kept.setdefault(key, record)
        if first is not record:
            repeated.append(
                f"{record.path.name} is of the same row, classifier and seed as "
                f"{first.path.name}; one fine-tuning counts once, so remove one of them."
            )
    return list(kept.values()), repeated


def _together(sentences: Iterable[str]) -> list[str]:
    """``row: reason`` lines, with the rows of one reason named together."""
    rows: dict[str, list[str]] = {}
    for sentence in sentences:
        row, _, reason = sentence.partition(": ")
        rows.setdefault(reason, []).append(row)
    return [f"{', '.join(names)}: {reason}" for reason, names in rows.items()]


def _rest(record: Record) -> dict[str, Any]:
    try:
        return compared(json.loads(record.content["config"]["json"]))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"The record '{record.path}' holds no readable config.") from error


def _first_difference(left: Any, right: Any, place: str = "") -> str:
    """Where two trees first differ, as ``model.neck.out_channels is 256 here, 128 there``."""
    if left == right:
        return "its config is the baseline's by its text, and another by the hash beside it."
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                return _first_difference(left.get(key), right.get(key), f"{place}.{key}".strip("."))
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{place}.{index}")
    return f"{place} is {right!r}, the baseline's is {left!r}."


def _row(result: RowResult, records: Sequence[Record], metric: str, baseline: str) -> GainRow:
    classifiers = [record.content["classifier"] for record in records]
    known = [c["top1"] for c in {c["sha256"]: c for c in classifiers}.values() if c["top1"]]
    first = classifiers[0]
    return GainRow(
        result.row,
        first["architecture"],
        sum(known) / len(known) if known else None,
        first["top1_on"],
        first["parameters"],
        first["multiply_adds_224"],
        result,
        _paper(result.row, metric),
        _paper_gain(result.row, metric, baseline),
        tuple(records),
    )


def _paper_gain(row: str, metric: str, baseline: str) -> float | None:
    paper, of_baseline = _paper(row, metric), _paper(baseline, metric)
    return None if paper is None or of_baseline is None else paper - of_baseline


def _paper(row: str, metric: str) -> float | None:
    return figures(paper_row(row)).of(metric)
