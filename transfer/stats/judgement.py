"""Verdicts on some rows of a table, judged together against their baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transfer.stats import components
from transfer.stats.blocks import complete_blocks
from transfer.stats.comparison import Gain, Method, compare, compare_kinds
from transfer.stats.components import Component
from transfer.stats.design_notes import design_in_words, mixed_kinds, thin_baseline
from transfer.stats.power import sd_interval, smallest_effect, units_needed
from transfer.stats.rows import Observation, RowResult
from transfer.stats.spreads import Design
from transfer.stats.summary import LEAST_SPREAD, unit_values

DEFAULT_TARGET = 1.0
"""Points: the default gain whose cost in units is computed."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What was fixed before the results: cost targets, level and margin."""

    targets: Mapping[str, float]
    level: float
    margin: float | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Some rows, compared with the baseline together."""

    rows: dict[str, RowResult]
    method: Method
    reason: str
    components: list[Component]
    notes: list[str]


def judge(
    names: Sequence[str],
    rows: Mapping[str, RowResult],
    cells: Mapping[str, Sequence[Observation]],
    rules: Rules,
) -> Judged:
    """Compare rows with the baseline, the first of the names."""
    kinds = [_kind(rows[name]) for name in names]
    mixed = len(set(kinds) - {""}) > 1
    blocks = None if mixed else complete_blocks({name: cells[name] for name in names})
    values = blocks.values if blocks else [unit_values(cells[name]) for name in names]
    members = [rows[name] for name in names]
    design = Design(tuple(map(len, values)), blocks is not None)
    if mixed:
        method: Method = "Welch-Bonferroni"
        reason = "classifiers in some rows, fine-tunings of given weights in others"
        gains = compare_kinds(
            values[0],
            values[1:],
            [kind or "classifier" for kind in kinds],
            level=rules.level,
            margin=rules.margin,
        )
        notes = [mixed_kinds(members)]
    else:
        method = "blocked Dunnett" if blocks else "Dunnett"
        gains = compare(
            values[0],
            values[1:],
            blocked=design.blocked,
            level=rules.level,
            margin=rules.margin,
        )
        reason = design_in_words(design, members)
        notes = [*(blocks.notes if blocks else ()), *thin_baseline(design, members)]
    found = {}
    for place, (name, gain) in enumerate(zip(names[1:], gains, strict=True), 1):
        if gain.sd < LEAST_SPREAD:
            notes.append(
                f"{name}: no verdict, because it differs from {names[0]} by the same figure in "
                "every block; check whether its seeds took effect."
            )
            continue
        found[name] = _with_verdict(rows[name], gain, method)
        if gain.verdict == "inconclusive":
            target = rules.targets.get(name, DEFAULT_TARGET)
            found[name] = _with_reach(found[name], gain, design, place, target, rules.level)
    seeds = components.of_blocks(blocks.values) if blocks else []
    return Judged(rows=found, method=method, reason=reason, components=seeds, notes=notes)


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
    )


def _with_reach(
    row: RowResult, gain: Gain, design: Design, place: int, target: float, level: float
) -> RowResult:
    """Add the detectable gain and the cost of the target gain."""
    effect = smallest_effect(design, place, level)
    low, high = sd_interval(gain.sd, gain.df)
    count = len(design.sizes) - 1
    return replace(
        row,
        detectable=effect * gain.sd,
        detectable_low=effect * low,
        detectable_high=effect * high,
        target_gain=target,
        needed_low=units_needed(abs(target) / low, count, design.blocked),
        needed_high=units_needed(abs(target) / high, count, design.blocked),
    )
