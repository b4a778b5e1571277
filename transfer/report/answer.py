"""The answer in sentences: whether the tricks transfer, by how much, and how certain that is.

One paragraph for each data set, protocol and control; every figure is computed from records.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from transfer.records.comparable import Setting
from transfer.records.settings import in_words
from transfer.records.wording import count, gained
from transfer.report.gains import GainRow, GainTable
from transfer.stats.rows import SEVERAL

Group = tuple[GainTable, ...]


def groups(tables: Sequence[GainTable]) -> list[Group]:
    """Tables of one data set, protocol and baseline, both tasks together."""
    found: dict[tuple[str, str, str], list[GainTable]] = {}
    for table in tables:
        key = (table.setting.data, table.setting.protocol, table.baseline)
        found.setdefault(key, []).append(table)
    return [tuple(group) for group in found.values()]


def task_of(table: GainTable, group: Group) -> str:
    """A table's task; if its group has several tables of it, with what distinguishes this one."""
    task = table.setting.task
    settings = [_varying(one.setting) for one in group if one.setting.task == task]
    own = _varying(table.setting)
    apart = [
        own.get(key, f"{key} as in the protocol")
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({one.get(key) for one in settings}) > 1
    ]
    return f"{task} with {', '.join(apart)}" if apart else task


def _varying(setting: Setting) -> dict[str, str]:
    """Everything in which tables of one task, data set and protocol may differ."""
    return {
        "precision": setting.precision,
        **{key: in_words(key, value) for key, value in json.loads(setting.overrides)},
        "lists": f"image lists {setting.data_fingerprint}",
        "version": f"protocol version {setting.protocol_version}",
    }


def answer(group: Group) -> list[str]:
    """Sentences about a group: the pretrained rows, the certainty, the controls."""
    first = group[0]
    rows = {row.name: row for table in group for row in table.rows}
    others = [name for name in rows if name != first.baseline]
    controls = [name for name in others if rows[name].statistics.control]
    asked = [name for name in others if name not in controls]
    sentences = [_transferred(group, name) for name in asked]
    if not sentences:
        sentences = [f"On {first.setting.data} no row was compared with {first.baseline}."]
    return [*sentences, *(_sureness(group) if others else []), *_controls(group, controls)]


def _transferred(group: Group, name: str) -> str:
    setting, baseline = group[0].setting, group[0].baseline
    beside = _accuracies(group, name)
    found = "; ".join(_gains(group, name))
    return (
        f"On {setting.data}, protocol {setting.protocol}, {name} instead of {baseline}{beside}: "
        f"{found}."
    )


def _accuracies(group: Group, name: str) -> str:
    """Top-1 of a row's classifiers and of the baseline's; empty if either is unknown."""
    rows = {row.name: row for table in group for row in table.rows}
    row, control = rows[name], rows.get(group[0].baseline)
    if control is None or not row.top1 or not control.top1:
        return ""
    if not row.top1_on or not control.top1_on:
        return f" (top-1 {row.top1:.2f} against {control.top1:.2f} %, data set not always reported)"
    if row.top1_on == control.top1_on:
        return f" (top-1 on {row.top1_on} {row.top1:.2f} against {control.top1:.2f} %)"
    return (
        f" (top-1 {row.top1:.2f} % on {row.top1_on} against {control.top1:.2f} % on "
        f"{control.top1_on})"
    )


def _gains(group: Group, name: str) -> list[str]:
    return [
        f"{task_of(table, group)} {_gain(table, row)}"
        for table in group
        for row in table.rows
        if row.name == name
    ]


def _gain(table: GainTable, row: GainRow) -> str:
    found = row.statistics
    gain = gained(found.gain, table.setting.measure, found.gain_low, found.gain_high)
    return f"{gain}, {found.verdict or 'no claim'}"


def _sureness(group: Group) -> list[str]:
    judged = [(task_of(t, group), _units(t)) for t in group if t.analysis.method is not None]
    units = "; ".join(f"{task} with {units_of_task}" for task, units_of_task in judged)
    if len(judged) == len(group) and len({units_of_task for _, units_of_task in judged}) == 1:
        units = judged[0][1]
    if not units:
        reasons = dict.fromkeys(table.analysis.reason for table in group)
        return [f"No verdicts: {'; '.join(reasons)}."]
    return [
        "The 95 % intervals in brackets hold simultaneously for all rows of a task, and for each "
        "control alone: a gain lies above zero, a loss below, and an inconclusive difference "
        f"includes zero ({units})."
    ]


def _units(table: GainTable) -> str:
    """``3 classifiers per row``, or their range."""
    counts = sorted({row.statistics.n for row in table.rows})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    unit = {row.statistics.unit for row in table.rows}
    what = "classifiers or fine-tunings" if len(unit) > 1 else SEVERAL[unit.pop()]
    return f"{number} {what} per row"


def _controls(group: Group, controls: Sequence[str]) -> list[str]:
    if not controls:
        return []
    gains = "; ".join(f"{name}: {', '.join(_gains(group, name))}" for name in controls)
    return [f"{count(len(controls), 'control')} against {group[0].baseline}: {gains}."]
