"""The first screen of the project's README: the answer, a table and a picture, from records."""

from __future__ import annotations

from backbones.common.escape import markdown
from transfer.records.wording import figure, in_brackets, signed
from transfer.report.answer import Group, answer, groups, task_of
from transfer.report.collection import Collection, settings
from transfer.report.gains import GainTable
from transfer.report.layout import table, to_markdown
from transfer.report.made_part import MadePart

PART = MadePart("results", "transfer table all --write")


def front(found: Collection, pictures: str) -> str:
    """The text of the part.

    Args:
        found: All results.
        pictures: Folder of the pictures, relative to the README.
    """
    if not found.gains:
        return "There are no results on real data yet.\n"
    parts = []
    for group in groups(found.gains):
        parts += [markdown(" ".join(answer(group))) + "\n", _table(group)]
    parts.append(_pictures(found, pictures))
    return "\n".join(parts)


def _table(group: Group) -> str:
    """One line for each row, both tasks side by side."""
    names = list(dict.fromkeys(row.name for one in group for row in one.rows))
    columns = ["backbone", "top-1, %"]
    for one in group:
        columns += [f"{task_of(one, group)}, {one.setting.measure} %", "gain (95 %)", "verdict"]
    rows = [_line(group, name) for name in names]
    setting = group[0].setting
    title = f"{setting.data}, protocol {setting.protocol}"
    return to_markdown(table("front", title=title, columns=columns, rows=rows))


def _line(group: Group, name: str) -> list[str]:
    top1 = next((r.top1 for one in group for r in one.rows if r.name == name), None)
    line = [name, figure(top1)]
    for one in group:
        line += _figures(one, name)
    return line


def _figures(gains: GainTable, name: str) -> list[str]:
    row = next((row for row in gains.rows if row.name == name), None)
    if row is None:
        return ["–"] * 3
    found = row.statistics
    if name == gains.baseline:
        return [figure(found.mean), "", "baseline"]
    ends = in_brackets(found.gain_low, found.gain_high)
    return [figure(found.mean), signed(found.gain) + ends, found.verdict or "no claim"]


def _pictures(found: Collection, folder: str) -> str:
    """The gains of each setting; the same names as ``transfer report --pictures``."""
    drawn = [
        f"![Gains: {markdown(tables[0].setting.title)}]({folder}/{name}-gains.svg)\n"
        for name, tables in settings(found)
        if any(row.statistics.gain is not None for one in tables for row in one.rows)
    ]
    return "\n".join(drawn)
