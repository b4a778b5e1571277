"""From fine-tunings to verdicts: the statistics of one table (one task, metric and protocol).

docs/statistics.md explains what is computed and why, with simulations.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from transfer.stats.comparison import Gain, Method, compare
from transfer.stats.power import Design, sd_interval, smallest_effect, units_needed
from transfer.stats.rows import Observation, RowResult, sort_observations, summarise, unit_values

__all__ = ["Observation", "RowResult", "TableResult", "analyse"]

DEFAULT_TARGET = 1.0
"""Points: the default gain whose cost in units is computed."""


@dataclass(frozen=True, kw_only=True)
class TableResult:
    """The statistics of one table.

    Attributes:
        baseline: the common baseline's row.
        rows: the baseline, if measured, then the others in order of appearance.
        method: the deciding method; None if no row could be compared.
        reason: the reason for that method, or for having none.
        family: the rows that were jointly compared with the baseline.
        left_out: observations and rows without influence on verdicts, with reasons.
        notes: remarks for readers on the table, in sentences.
    """

    baseline: str
    rows: tuple[RowResult, ...]
    method: Method | None
    reason: str
    family: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def analyse(
    observations: Iterable[Observation],
    baseline: str,
    *,
    targets: Mapping[str, float] | None = None,
) -> TableResult:
    """Summarise the rows of one table and compare each with the baseline.

    Args:
        observations: the finished fine-tunings of one task, metric, protocol and data set. Values
            that are not finite are left out and listed.
        baseline: the row that the others are compared with. If it was not measured, the table has
            no gains.
        targets: for each row, the gain in points whose cost in units is computed, such as the
            paper's; 1 point for other rows.

    Raises:
        UserError: no finite observation was given, or one fine-tuning was given twice.
    """
    cells, left_out = sort_observations(observations)
    names = sorted(cells, key=lambda name: name != baseline)  # stable: the baseline comes first
    rows = {name: summarise(cells[name]) for name in names}
    left_out += [f"{name}: {row.no_claim}" for name, row in rows.items() if row.no_claim]
    for name in names:
        rows[name] = _relate(rows[name], cells[name], rows.get(baseline), cells.get(baseline, []))

    family = tuple(name for name in names if name != baseline and not rows[name].no_claim)
    obstacle = _obstacle(baseline, rows, family)
    if obstacle:
        return TableResult(
            baseline=baseline,
            rows=tuple(rows.values()),
            method=None,
            reason=obstacle,
            family=(),
            left_out=tuple(left_out),
            notes=(),
        )
    kinds = [_kind(rows[name]) for name in (baseline, *family)]
    one_kind = len(set(kinds) - {""}) <= 1
    comparison = compare(
        unit_values(cells[baseline]),
        [unit_values(cells[name]) for name in family],
        kinds=None if one_kind else [kind or "classifier" for kind in kinds],
    )
    sizes = tuple(sorted(rows[name].n for name in family))
    for name, gain in zip(family, comparison.gains, strict=True):
        rows[name] = _with_verdict(rows[name], gain, comparison.method)
        if gain.verdict == "inconclusive":
            target = (targets or {}).get(name, DEFAULT_TARGET)
            rows[name] = _with_reach(
                rows[name], baseline=rows[baseline], gain=gain, family=sizes, target=target
            )
    return TableResult(
        baseline=baseline,
        rows=tuple(rows.values()),
        method=comparison.method,
        reason=comparison.reason,
        family=family,
        left_out=tuple(left_out),
        notes=(
            *(() if one_kind else [_mixed_kinds([rows[name] for name in (baseline, *family)])]),
            *_thin_baseline(rows[baseline], [rows[name] for name in family]),
        ),
    )


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
    note = f"Seeds {_listed(seeds)}; the baseline has {_listed(expected)}."
    return replace(row, notes=(*row.notes, note))


def _obstacle(baseline: str, rows: Mapping[str, RowResult], family: Sequence[str]) -> str | None:
    """Why no row can be compared with the baseline; None if one can."""
    if baseline not in rows:
        if not baseline:
            return "no baseline was named"
        return f"the baseline {baseline} has no finished fine-tuning"
    if rows[baseline].no_claim:
        return f"the baseline {baseline} has {rows[baseline].no_claim}"
    if not family:
        return "no row besides the baseline has two units that differ"
    return None


def _kind(row: RowResult) -> str:
    """The kind of a row's spread; empty if it fits either kind.

    A run from random weights varies with its recipe and its weights at once. If there are both
    kinds, it counts as a recipe's: everything that may vary does so between its runs.
    """
    return "" if row.unit == "run from random weights" else row.unit


def _with_verdict(row: RowResult, gain: Gain, method: Method) -> RowResult:
    return replace(
        row,
        gain=gain.gain,
        gain_low=gain.low,
        gain_high=gain.high,
        p=gain.p,
        verdict=gain.verdict,
        method=method,
        gain_error=gain.std_error,
        gain_sd=gain.sd,
        gain_df=gain.df,
        gain_sd_df=gain.sd_df,
    )


def _with_reach(
    row: RowResult, *, baseline: RowResult, gain: Gain, family: tuple[int, ...], target: float
) -> RowResult:
    """Add the detectable gain and the cost of the target gain."""
    effect = smallest_effect(
        Design(baseline=baseline.n, row=row.n, family=family, share=gain.share, dfs=gain.dfs)
    )
    low, high = sd_interval(gain.sd, gain.sd_df)
    pooled = (1, 1)
    if gain.dfs:
        pooled = round(gain.dfs[0] / (baseline.n - 1)), round(gain.dfs[1] / (row.n - 1))
    return replace(
        row,
        detectable=effect * gain.sd,
        detectable_low=effect * low,
        detectable_high=effect * high,
        target_gain=target,
        needed_low=units_needed(abs(target) / low, len(family), gain.share, pooled),
        needed_high=units_needed(abs(target) / high, len(family), gain.share, pooled),
    )


def _mixed_kinds(rows: Sequence[RowResult]) -> str:
    recipes = ", ".join(row.row for row in rows if row.unit == "classifier")
    weights = ", ".join(row.row for row in rows if row.unit == "fine-tuning")
    return (
        f"{recipes}: several classifiers, so the figures describe the recipe; {weights}: one "
        "classifier, so they describe these weights. A gain between the two compares a recipe "
        "with one set of weights. Only spreads of the same kind are pooled, so Welch's tests "
        "decide this table."
    )


def _thin_baseline(baseline: RowResult, rows: Sequence[RowResult]) -> list[str]:
    """A note if rows have more units than their common baseline."""
    most = max(row.n for row in rows)
    if baseline.n >= most:
        return []
    return [
        f"{baseline.row} has {baseline.n} units, other rows up to {most}: every gain depends on "
        "the baseline, and if its spread is larger, false verdicts become more likely; give it "
        "as many units (docs/statistics.md)."
    ]


def _listed(seeds: set[int]) -> str:
    """Seeds with consecutive numbers as ranges: ``0-2, 7``."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
