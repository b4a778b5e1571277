"""Gains: the rows of one table, each with its gain over the baseline and the paper's gain.

A table has one task, data set, protocol, precision and metric; other rows never enter it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.zoo import zoo
from backbones.zoo.paper_figures import figures
from transfer.records import look_log
from transfer.records.cells import SHUFFLED
from transfer.records.comparable import Setting, classifier, comparable, of_one_model, once
from transfer.records.look_log import DamagedLooks
from transfer.records.records import Record
from transfer.report.looks_at import judged, not_judged, with_look
from transfer.stats.rows import Observation, RowResult
from transfer.stats.statistics import TableResult


@dataclass(frozen=True, kw_only=True)
class GainRow:
    """One backbone.

    Attributes:
        name: Row of the zoo, or the user's name.
        architecture: Its network.
        top1: Mean top-1 of the classifiers used, in percent; None if unknown.
        top1_on: The data set of top-1.
        parameters: Parameters of the classifier.
        multiply_adds: Multiply-adds of the classifier at 224 pixels.
        statistics: Mean, interval, gain, verdict.
        paper: The paper's figure of this metric, or None.
        paper_gain: The paper's gain over its figure of the baseline, or None.
        records: The records that it is computed from.
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


@dataclass(frozen=True, kw_only=True)
class GainTable:
    """A table of gains.

    Attributes:
        setting: The setting that its rows share.
        baseline: The row that gains are computed against.
        rows: The baseline first.
        analysis: The statistics of the table as a whole.
        left_out: Rows that are left out, with reasons.
        unfinished: The missing runs of each row that lacks some that were asked for.
    """

    setting: Setting
    baseline: str
    rows: tuple[GainRow, ...]
    analysis: TableResult
    left_out: tuple[str, ...]
    unfinished: dict[str, int]


def gain_tables(
    records: Iterable[Record], baseline: str, rows: Collection[str] | None = None
) -> list[GainTable]:
    """A table for each setting, in their order; arguments as for :func:`gain_table`."""
    groups: dict[Setting, list[Record]] = {}
    for record in records:
        groups.setdefault(Setting.of(record), []).append(record)
    settings = sorted(groups, key=lambda setting: setting.order)
    return [gain_table(setting, groups[setting], baseline, rows) for setting in settings]


def looks_path(records: Sequence[Record], baseline: str) -> Path:
    """The file of the looks at a table of these records."""
    first = records[0]
    return look_log.path_of(first.path.parent, first.cell, baseline)


def keep_look(table: GainTable) -> None:
    """Record a look at the verdicts of a table whose looks are kept.

    ``transfer run`` begins to keep them. Results that it did not write, such as published ones,
    are only read, and so are folders that this user cannot write.
    """
    if table.analysis.method is None or table.unfinished:
        return
    path = looks_path([record for row in table.rows for record in row.records], table.baseline)
    log = look_log.read(path, table.baseline)
    if log is None:
        return
    after = with_look(table.analysis, log)
    if after != log and os.access(path.parent, os.W_OK):
        look_log.write(path, after)


def gain_table(
    setting: Setting,
    records: Sequence[Record],
    baseline: str,
    rows: Collection[str] | None = None,
) -> GainTable:
    """One table.

    Args:
        setting: The setting that the records share.
        records: One or more; those that cannot be compared with the others are left out and listed.
        baseline: The row that gains are computed against.
        rows: The rows that the records were limited to; None if they were not.
    """
    current, former = of_one_model(records)
    alike, different = comparable(current, baseline)
    usable, repeated = once(alike)
    by_row: dict[str, list[Record]] = {}
    for record in usable:
        by_row.setdefault(record.cell["backbone"], []).append(record)
    observations = [observation(record, record.value) for record in usable]
    controls = controls_of({name: records[0].cell for name, records in by_row.items()})
    log = None
    try:
        log = look_log.read(looks_path(records, baseline), baseline)
        analysis = judged(
            observations,
            log,
            baseline,
            targets=_targets(by_row, setting.metric, baseline),
            controls=controls,
        )
    except DamagedLooks as damage:
        analysis = not_judged(observations, baseline, controls=controls, reason=damage.clause)
    shown = tuple(
        _row(result, by_row[result.row], setting.metric, baseline) for result in analysis.rows
    )
    left_out = (*former, *different, *repeated, *_together(analysis.left_out))
    runs = {row: len(own) for row, own in by_row.items()}
    return GainTable(
        setting=setting,
        baseline=baseline,
        rows=shown,
        analysis=analysis,
        left_out=left_out,
        unfinished=log.missing_runs(runs, rows) if log else {},
    )


def paper_row(name: str) -> str:
    """The row of the zoo behind a name: an alias's target, otherwise the name itself."""
    return zoo.meant_by(name)


def observation(record: Record, value: float) -> Observation:
    """A figure of a record, with the row, classifier and seed that it belongs to."""
    return Observation(record.cell["backbone"], classifier(record), record.cell["seed"], value)


def controls_of(cells: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Controls for the effect of pretraining: rows with random or shuffled weights.

    ``<network>_scratch`` is a control beside pretrained weights of the same network. Without such
    weights, and in a user's own file, random weights are a row like any other.

    Args:
        cells: A cell of each row, as in a record.
    """
    pretrained = {cell.get("architecture") for cell in cells.values() if not cell.get("scratch")}
    return {
        name
        for name, cell in cells.items()
        if str(cell.get("weights", "")).startswith(f"{SHUFFLED}:")
        or (
            cell.get("scratch")
            and name.endswith("_scratch")
            and cell.get("architecture") in pretrained
        )
    }


def _targets(rows: Iterable[str], metric: str, baseline: str) -> dict[str, float]:
    """The paper's gain of each row that has one; the seeds needed to detect it are estimated."""
    gains = {row: _paper_gain(row, metric, baseline) for row in rows}
    return {row: gain for row, gain in gains.items() if gain}


def _together(sentences: Iterable[str]) -> list[str]:
    """``row: reason`` lines, with rows of the same reason together."""
    rows: dict[str, list[str]] = {}
    for sentence in sentences:
        row, _, reason = sentence.partition(": ")
        rows.setdefault(reason, []).append(row)
    return [f"{', '.join(names)}: {reason}." for reason, names in rows.items()]


def _row(result: RowResult, records: Sequence[Record], metric: str, baseline: str) -> GainRow:
    classifiers = [record.content["classifier"] for record in records]
    known = [c["top1"] for c in {c["sha256"]: c for c in classifiers}.values() if c["top1"]]
    first = classifiers[0]
    return GainRow(
        name=result.row,
        architecture=first["architecture"],
        top1=sum(known) / len(known) if known else None,
        top1_on=first["top1_on"],
        parameters=first["parameters"],
        multiply_adds=first["multiply_adds_224"],
        statistics=result,
        paper=_paper(result.row, metric),
        paper_gain=_paper_gain(result.row, metric, baseline),
        records=tuple(records),
    )


def _paper_gain(row: str, metric: str, baseline: str) -> float | None:
    paper, of_baseline = _paper(row, metric), _paper(baseline, metric)
    return None if paper is None or of_baseline is None else paper - of_baseline


def _paper(row: str, metric: str) -> float | None:
    return figures(paper_row(row)).of(metric)
