"""From fine-tunings to verdicts: the statistics of one table (one task, metric and protocol).

docs/statistics.md explains what is computed and why, with simulations.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from transfer.stats import components
from transfer.stats.comparison import Method
from transfer.stats.components import Component
from transfer.stats.critical import LEVEL
from transfer.stats.design_notes import dependent, listed
from transfer.stats.judgement import Rules, judge
from transfer.stats.rows import Observation, RowResult
from transfer.stats.summary import sort_observations, summarise

__all__ = ["Observation", "RowResult", "TableResult", "analyse"]


@dataclass(frozen=True, kw_only=True)
class TableResult:
    """The statistics of one table.

    Attributes:
        baseline: the common baseline's row.
        rows: the baseline, if measured, then the others in order of appearance.
        method: the deciding method; None if no row could be compared.
        reason: the design that led to that method, or the reason for having none.
        family: the rows that were jointly compared with the baseline; without controls.
        components: the spreads behind the gains, where they can be separated.
        left_out: observations and rows without influence on verdicts, with reasons.
        notes: remarks for readers on the table, in sentences.
    """

    baseline: str
    rows: tuple[RowResult, ...]
    method: Method | None
    reason: str
    family: tuple[str, ...]
    components: tuple[Component, ...] = ()
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def analyse(
    observations: Iterable[Observation],
    baseline: str,
    *,
    targets: Mapping[str, float] | None = None,
    controls: Collection[str] = (),
    level: float = LEVEL,
    control_level: float = LEVEL,
    margin: float | None = None,
) -> TableResult:
    """Summarise the rows of one table and compare each with the baseline.

    Args:
        observations: the finished fine-tunings of one task, metric, protocol and data set. Values
            that are not finite are left out and listed.
        baseline: the row that the others are compared with. If it was not measured, the table has
            no gains.
        targets: for each row, the gain in points whose cost in units is computed, such as the
            paper's; 1 point for other rows.
        controls: rows meant to lose. Each is compared with the baseline alone.
        level: chance of any false verdict over all other rows.
        control_level: chance of a false verdict on a single control.
        margin: largest difference, in points, that does not matter; None if none was fixed.

    Raises:
        UserError: no finite observation was given, or one fine-tuning was given twice.
    """
    cells, left_out = sort_observations(observations)
    names = sorted(cells, key=lambda name: name != baseline)  # stable: the baseline comes first
    rows = {name: summarise(cells[name]) for name in names}
    left_out += [f"{name}: {row.no_claim}" for name, row in rows.items() if row.no_claim]
    for name in names:
        rows[name] = _relate(rows[name], cells[name], rows.get(baseline), cells.get(baseline, []))
        if name in controls and name != baseline:
            rows[name] = replace(rows[name], control=True)

    able = [name for name in names if name != baseline and not rows[name].no_claim]
    family = tuple(name for name in able if not rows[name].control)
    obstacle = _obstacle(baseline, rows, able)
    shared = dependent(rows, cells)
    if obstacle:
        return TableResult(
            baseline=baseline,
            rows=tuple(rows.values()),
            method=None,
            reason=obstacle,
            family=(),
            left_out=tuple(left_out),
            notes=shared,
        )
    rules = Rules(targets=targets or {}, level=level, margin=margin)
    of_control = replace(rules, level=control_level)
    method: Method = "Dunnett"
    reason, notes, found = "", [*shared], []
    for group in [family, *((name,) for name in able if rows[name].control)]:
        if not group:
            continue
        own = rules if group == family else of_control
        judged = judge((baseline, *group), rows, cells, own)
        rows |= judged.rows
        if group == family or not family:
            method, reason, found = judged.method, judged.reason, judged.components
        notes += judged.notes
    return TableResult(
        baseline=baseline,
        rows=tuple(rows.values()),
        method=method,
        reason=reason,
        family=family,
        components=(*found, *_between_classifiers(rows, cells, family, baseline)),
        left_out=tuple(left_out),
        notes=tuple(dict.fromkeys(notes)),
    )


def _between_classifiers(
    rows: Mapping[str, RowResult],
    cells: Mapping[str, Sequence[Observation]],
    family: Sequence[str],
    baseline: str,
) -> list[Component]:
    names = [name for name in (baseline, *family) if rows[name].unit == "classifier"]
    return components.of_classifiers([cells[name] for name in names])


def _relate(
    row: RowResult,
    cells: Sequence[Observation],
    baseline: RowResult | None,
    baseline_cells: Sequence[Observation],
) -> RowResult:
    """Add the difference from the baseline, and a note if their seeds differ."""
    if baseline is None or row.row == baseline.row:
        return row
    row = replace(row, gain=row.mean - baseline.mean)
    seeds, expected = {cell.seed for cell in cells}, {cell.seed for cell in baseline_cells}
    if seeds == expected:
        return row
    note = f"fine-tuned with {_named(seeds)}, the baseline with {_named(expected)}."
    return replace(row, notes=(*row.notes, note))


def _obstacle(baseline: str, rows: Mapping[str, RowResult], family: Sequence[str]) -> str | None:
    """Why no row can be compared with the baseline; None if one can."""
    if baseline not in rows:
        if not baseline:
            return "no baseline was named"
        return f"the baseline {baseline} has no finished fine-tuning"
    if rows[baseline].no_claim:
        if rows[baseline].n == 1:
            return f"the baseline {baseline} has {rows[baseline].no_claim}"
        return f"in the baseline {baseline}, {rows[baseline].no_claim}"
    if not family:
        return "no row besides the baseline has two units that differ"
    return None


def _named(seeds: set[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {listed(seeds)}"
