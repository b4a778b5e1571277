"""The answer in sentences: one for each task, with the gain, its interval and its verdict.

One answer for each data set, protocol and baseline; every figure is computed from records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transfer.records.wording import gained, interval, signed
from transfer.report.gains import GainRow, GainTable
from transfer.report.papers_gain import papers_gain
from transfer.report.short_names import short_name
from transfer.report.verdicts import shares

Group = tuple[GainTable, ...]

NO_CLAIM = "no claim"
"""Stands for the verdict of a row that can have none."""

_MAKES = {"detection": "detector", "segmentation": "segmenter"}
_MOST_ROWS = 4  # that a sentence lists one by one


@dataclass(frozen=True, kw_only=True)
class TaskAnswer:
    """One sentence about a task.

    Attributes:
        task: The task; if its group has several tables of it, with what distinguishes this one.
        table: The table that it is about.
        verdict: The verdict, or how many rows have which.
        finding: The gain of each row in question, with its interval.
        beside: The paper's gain, as a clause; empty if it has none.
    """

    task: str
    table: GainTable
    verdict: str
    finding: str
    beside: str

    @property
    def sentence(self) -> str:
        """The finding and the paper's gain."""
        return f"{self.finding}{f'; {self.beside}' if self.beside else ''}."

    @property
    def text(self) -> str:
        """The sentence after its task and verdict."""
        return f"{self.title}: {self.verdict}. {self.sentence}"

    @property
    def title(self) -> str:
        """The task at the start of a line."""
        return f"{self.task[:1].upper()}{self.task[1:]}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a group of tables.

    Attributes:
        tasks: One sentence a table.
        controls: A sentence on the controls; empty without any.
    """

    tasks: tuple[TaskAnswer, ...]
    controls: str

    @property
    def sentences(self) -> list[str]:
        """The whole answer, sentence by sentence."""
        return [*(one.text for one in self.tasks), *([self.controls] if self.controls else [])]


def groups(tables: Sequence[GainTable]) -> dict[str, Group]:
    """Tables of one data set, protocol and baseline, both tasks together, by a short name."""
    found: dict[tuple[str, str, str], list[GainTable]] = {}
    for table in tables:
        key = (table.setting.data, table.setting.protocol, table.baseline)
        found.setdefault(key, []).append(table)
    named: dict[str, Group] = {}
    for key, group in found.items():
        named[short_name("-".join(("answer", *key)), named)] = tuple(group)
    return named


def answer(group: Group) -> Answer:
    """What a group of tables says about the question."""
    return Answer(
        tasks=tuple(
            _of_task(table, task_of(table, group), is_first=place == 0)
            for place, table in enumerate(group)
        ),
        controls=_controls(group),
    )


def task_of(table: GainTable, group: Group) -> str:
    """A table's task; if its group has several tables of it, with what distinguishes this one."""
    task = table.setting.task
    several = [_traits(one) for one in group if one.setting.task == task]
    if len(several) == 1:
        return task
    shared = set(several[0]).intersection(*several[1:])
    apart = [trait for trait in _traits(table) if trait not in shared]
    return f"{task} with {', '.join(apart)}" if apart else f"{task} with the protocol's settings"


def _traits(table: GainTable) -> list[str]:
    """Everything in which tables of one task, data set and protocol may differ."""
    setting = table.setting
    return [
        setting.precision,
        *setting.changes,
        f"image lists {setting.data_fingerprint}",
        f"protocol version {setting.protocol_version}",
    ]


def asked(table: GainTable) -> list[GainRow]:
    """The rows in question: neither the baseline nor a control."""
    return [row for row in table.rows if row.name != table.baseline and not row.statistics.control]


def controls(table: GainTable) -> list[GainRow]:
    """The rows that are meant to lose."""
    return [row for row in table.rows if row.name != table.baseline and row.statistics.control]


def verdict_of(row: GainRow) -> str:
    """A row's verdict in words."""
    return row.statistics.verdict or NO_CLAIM


def _of_task(table: GainTable, task: str, *, is_first: bool) -> TaskAnswer:
    rows = asked(table)
    times = Counter(map(verdict_of, rows))
    verdict = ", ".join(f"{number} {words}" for words, number in times.most_common())
    if len(times) == 1:
        verdict = next(iter(times))
    on = f"Fine-tuned on {table.setting.data}, " if is_first else ""
    if not rows:
        verdict, finding = NO_CLAIM, f"{on}no row was compared with {table.baseline}"
    elif len(rows) == 1:
        finding = f"{on}{_claim(rows[0], table, with_top1=is_first)}"
    else:
        finding = f"{on}{'; '.join(_figures(rows, table))}"
    return TaskAnswer(
        task=task, table=table, verdict=verdict, finding=finding, beside=_beside(rows, table)
    )


def _claim(row: GainRow, table: GainTable, *, with_top1: bool) -> str:
    """What the interval says of a single row, no stronger than it allows."""
    found = row.statistics
    name, base = _with_top1(row, table) if with_top1 else (row.name, table.baseline)
    makes = _MAKES[table.setting.task]
    verdict = verdict_of(row)
    if verdict in ("gain", "loss"):
        words = f"{name} makes a {'better' if verdict == 'gain' else 'worse'} {makes} than {base}"
    elif verdict == NO_CLAIM:
        words = f"{name} and {base} have too few runs for a verdict"
    elif verdict == "inconclusive":
        words = f"{name} may make a better or a worse {makes} than {base}"
    else:
        words = f"{name} makes a {makes} like that of {base}, with {verdict}"
    words += f": {signed(found.gain)} {table.setting.measure}"
    if found.gain_low is not None:
        words += f", 95 % interval {interval(found.gain_low, found.gain_high)}"
    if found.detectable is not None:
        words += f" (a gain of {found.detectable:.2f} would have been found with 80 % power)"
    return words


def _with_top1(row: GainRow, table: GainTable) -> tuple[str, str]:
    """A row and its baseline with their top-1, if both are of one data set."""
    base = next((one for one in table.rows if one.name == table.baseline), None)
    if base is None or not row.top1 or not base.top1 or row.top1_on != base.top1_on:
        return row.name, table.baseline
    on = f" on {row.top1_on}" if row.top1_on else ""
    return f"{row.name} (top-1 {row.top1:.2f} %{on})", f"{base.name} ({base.top1:.2f} %)"


def _figures(rows: Sequence[GainRow], table: GainTable) -> list[str]:
    """Several rows: each with its gain, or how many gain and lose if they are many."""
    if len(rows) > _MOST_ROWS:
        return shares(rows, table)
    first, *others = (f"{row.name} {_gain(row, table)}, {verdict_of(row)}" for row in rows)
    return [f"compared with {table.baseline} (95 % intervals in brackets): {first}", *others]


def _gain(row: GainRow, table: GainTable) -> str:
    found = row.statistics
    return gained(found.gain, table.setting.measure, found.gain_low, found.gain_high)


def _beside(rows: Sequence[GainRow], table: GainTable) -> str:
    """The paper's gain beside that of the row that gains most."""
    if not rows:
        return ""
    most = max(rows, key=lambda row: row.statistics.gain or 0.0)
    of_paper = papers_gain(most, table.setting.metric)
    return of_paper.words.replace("this row", most.name) if of_paper else ""


def _controls(group: Group) -> str:
    """Whether the controls lose, as they must."""
    found = [(table, row) for table in group for row in controls(table)]
    if not found:
        return ""
    names = list(dict.fromkeys(row.name for _, row in found))
    if all(verdict_of(row) == "loss" for _, row in found):
        whose = f"{'Both' if len(names) == 2 else 'All'} controls lose"
        if len(names) == 1:
            whose = "The control loses"
        where = "both tasks" if len(group) == 2 else ", ".join(task_of(t, group) for t in group)
        return f"{whose} in {where} ({', '.join(names)})."
    parts = (
        f"{name}: "
        + ", ".join(
            f"{task_of(table, group)} {_gain(row, table)}, {verdict_of(row)}"
            for table, row in found
            if row.name == name
        )
        for name in names
    )
    return f"Controls, which are meant to lose: {'; '.join(parts)}."
