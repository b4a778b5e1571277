"""Results over several data sets: tables of one setting, baseline and task but for the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from transfer.records.comparable import Setting
from transfer.records.wording import count, figure, interval, p_value, signed
from transfer.report.gains import GainRow, GainTable
from transfer.report.layout import Cell, Table, table
from transfer.stats.comparison import verdict
from transfer.stats.critical import LEVEL
from transfer.stats.data_sets import FEWEST_DATA_SETS, CombinedGain, Ranks, combine, rank


@dataclass(frozen=True, kw_only=True)
class AcrossData:
    """Some rows on five data sets or more.

    Attributes:
        name: Short, for files and anchors.
        tables: One table of gains for each data set.
        rows: The baseline, then the rows that are in every table.
        ranks: Their ranks.
        gains: The gain of each row over data sets, without the baseline.
        left_out: Rows that some data sets lack.
    """

    name: str
    tables: tuple[GainTable, ...]
    rows: tuple[str, ...]
    ranks: Ranks
    gains: tuple[CombinedGain, ...]
    left_out: tuple[str, ...]

    @property
    def title(self) -> str:
        """The title of its table and picture."""
        first = self.tables[0]
        over = replace(first.setting, data=f"{len(self.tables)} data sets")
        return f"{over.title}, against {first.baseline}"


def with_notes(tables: Sequence[GainTable]) -> list[GainTable]:
    """The tables, with a note where there are too few data sets to combine."""
    noted = list(tables)
    for group in _groups(tables):
        if not 2 <= len(group) < FEWEST_DATA_SETS:
            continue
        last = group[-1]
        data = ", ".join(one.setting.data for one in group)
        note = (
            f"Nothing is combined over the {len(group)} data sets of this task ({data}): ranks and "
            f"a spread of gains between data sets need at least {FEWEST_DATA_SETS}."
        )
        analysis = replace(last.analysis, notes=(*last.analysis.notes, note))
        noted[noted.index(last)] = replace(last, analysis=analysis)
    return noted


def across_data(tables: Sequence[GainTable]) -> list[AcrossData]:
    """What can be said over data sets; nothing for settings with fewer than five."""
    found: list[AcrossData] = []
    for group in _groups(tables):
        if len(group) < FEWEST_DATA_SETS:
            continue
        name = f"{group[0].setting.task}-{group[0].setting.protocol}-over-data-sets"
        number = 1 + sum(one.name.startswith(name) for one in found)
        combined = _combined(group, name if number == 1 else f"{name}-{number}")
        found += [combined] if combined else []
    return found


def across_tables(tables: Sequence[GainTable]) -> list[Table]:
    """The tables of :func:`across_data`, laid out."""
    return [_table(one) for one in across_data(tables)]


def _groups(tables: Iterable[GainTable]) -> list[list[GainTable]]:
    """Tables with a baseline that differ only in their data; each data set once, with most runs."""
    found: dict[tuple[Setting, str], dict[str, GainTable]] = {}
    for one in tables:
        if one.baseline not in [row.name for row in one.rows]:
            continue
        alike = replace(one.setting, data="", data_fingerprint=""), one.baseline
        by_data = found.setdefault(alike, {})
        other = by_data.get(one.setting.data)
        if other is None or _runs(one) > _runs(other):
            by_data[one.setting.data] = one
    return [list(by_data.values()) for by_data in found.values()]


def _runs(one: GainTable) -> int:
    return sum(len(row.records) for row in one.rows)


def _combined(group: Sequence[GainTable], name: str) -> AcrossData | None:
    baseline = group[0].baseline
    of_data = [{row.name: row for row in one.rows} for one in group]
    asked = [
        name
        for name in dict.fromkeys(name for rows in of_data for name in rows)
        if name != baseline and not any(_is_control(rows.get(name)) for rows in of_data)
    ]
    names = [name for name in asked if all(name in rows for rows in of_data)]
    if not names:
        return None
    means = np.array([[rows[n].statistics.mean for n in (baseline, *names)] for rows in of_data])
    errors = [[rows[n].statistics.gain_error or 0.0 for rows in of_data] for n in names]
    gains = [np.array([_gain_on(one, n)[0] for one in group]) for n in names]
    return AcrossData(
        name=name,
        tables=tuple(group),
        rows=(baseline, *names),
        ranks=rank(means),
        gains=tuple(
            combine(gain, np.array(error), LEVEL / len(names))
            for gain, error in zip(gains, errors, strict=True)
        ),
        left_out=tuple(name for name in asked if name not in names),
    )


def _is_control(row: GainRow | None) -> bool:
    return row is not None and row.statistics.control


def _table(found: AcrossData) -> Table:
    columns = (
        "backbone",
        "mean rank",
        "p of the rank",
        "gain",
        "simultaneous 95 %",
        "verdict",
        "spread between data sets",
        "smallest gain",
        "largest gain",
    )
    first, *others = found.rows
    rows: list[list[Cell]] = [[first, figure(found.ranks.mean[0]), *["baseline"] * 7]]
    for place, (name, gain) in enumerate(zip(others, found.gains, strict=True)):
        own = sorted(_gain_on(one, name) for one in found.tables)
        rows.append(
            [
                name,
                figure(found.ranks.mean[place + 1]),
                p_value(found.ranks.p[place]),
                signed(gain.gain),
                interval(gain.low, gain.high),
                verdict(gain.low, gain.high),
                figure(gain.spread),
                *(f"{signed(value)} ({data})" for value, data in (own[0], own[-1])),
            ]
        )
    return table(found.name, title=found.title, columns=columns, rows=rows, notes=_notes(found))


def _gain_on(one: GainTable, name: str) -> tuple[float, str]:
    row = next(row.statistics for row in one.rows if row.name == name)
    assert row.gain is not None
    return row.gain, one.setting.data


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _notes(found: AcrossData) -> list[str]:
    sets, rows = len(found.tables), count(len(found.gains), "row")
    data = ", ".join(one.setting.data for one in found.tables)
    reach = (
        f"a mean rank differs from the baseline's from {found.ranks.critical:.2f} on"
        if found.ranks.critical
        else f"the ranks of {sets} data sets cannot show any difference here"
    )
    overall = found.ranks.overall
    friedman = "" if overall is None else f"Friedman's test of all ranks: p {_equals(overall)}. "
    lines = [
        f"Data sets: {data}. Each counts once, however many images and runs it has.",
        f"Ranks: 1 is the best. {friedman}Critical difference at 5 %: {reach} (exact distribution "
        f"of rank sums, Bonferroni over {rows}).",
        "Gains: a random-effects model with equal weights, t intervals with "
        f"{sets - 1} degrees of freedom, Bonferroni over {rows}. They are about other data sets of "
        "this kind, fine-tuned from the same classifiers.",
        f"The verdict follows from the interval. Its family is the {rows} of this table: the "
        "chance of any false verdict among them is 5 %. Nothing is corrected over tasks, so over "
        "such tables of both tasks it is at most 10 %. The ranks, and the tables of single data "
        "sets, are further tests of the same runs.",
    ]
    if found.left_out:
        lines.append(f"Not on every data set, so without a rank: {', '.join(found.left_out)}.")
    return lines
