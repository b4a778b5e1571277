"""Gains: the rows of one table, each beside the baseline and beside the paper's gain.

A table is one task, data set, protocol, precision and metric; rows of anything else never stand in
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from backbones import zoo
from backbones.errors import UserError
from transfer.report.records import Record, without_backbone
from transfer.report.rows import Observation, RowResult
from transfer.report.statistics import TableResult, analyse


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
        tricks: Of its recipe.
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
    tricks: tuple[str, ...]
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

    Raises:
        UserError: No record can stand in it.
    """
    usable, left_out = _comparable(records, baseline)
    analysis = analyse([_observation(record) for record in usable], baseline)
    by_row: dict[str, list[Record]] = {}
    for record in usable:
        by_row.setdefault(record.cell["backbone"], []).append(record)
    rows = tuple(
        _row(result, by_row[result.row], setting.metric, baseline) for result in analysis.rows
    )
    return GainTable(setting, baseline, rows, analysis, (*left_out, *analysis.left_out))


def _observation(record: Record) -> Observation:
    classifier = record.content["classifier"]["sha256"] or "random"
    return Observation(record.cell["backbone"], classifier, record.cell["seed"], record.value)


def _comparable(records: Sequence[Record], baseline: str) -> tuple[list[Record], list[str]]:
    """Records whose configs agree in all but the backbone; the baseline's decides."""
    reference = next((r for r in records if r.cell["backbone"] == baseline), records[0])
    wanted = reference.content["config"]["comparable_sha256"]
    usable, left_out = [], []
    for record in records:
        if record.content["config"]["comparable_sha256"] == wanted:
            usable.append(record)
        else:
            difference = _first_difference(_rest(reference), _rest(record))
            left_out.append(
                f"{record.cell['backbone']} ({record.path.name}) was fine-tuned differently: "
                f"{difference}"
            )
    return usable, left_out


def _rest(record: Record) -> dict[str, Any]:
    try:
        return without_backbone(json.loads(record.content["config"]["json"]))
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"The record '{record.path}' holds no readable config.") from error


def _first_difference(left: Any, right: Any, place: str = "") -> str:
    """Where two trees first differ, as ``model.neck.out_channels is 256 here, 128 there``."""
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
    paper, of_baseline = _paper(result.row, metric), _paper(baseline, metric)
    first = classifiers[0]
    return GainRow(
        result.row,
        first["architecture"],
        tuple(first["tricks"]),
        sum(known) / len(known) if known else None,
        first["top1_on"],
        first["parameters"],
        first["multiply_adds_224"],
        result,
        paper,
        paper - of_baseline if paper is not None and of_baseline is not None else None,
        tuple(records),
    )


def _paper(row: str, metric: str) -> float | None:
    try:
        return zoo.find(row).paper.of(metric)
    except UserError:  # a user's own row is not in the zoo
        return None
