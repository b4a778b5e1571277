"""Verdicts of a table at which somebody has looked before, planned or not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transfer.records.look_log import Look, LookLog
from transfer.stats.looks import nominal_level, unplanned_level
from transfer.stats.rows import Observation, RowResult
from transfer.stats.statistics import TableResult, analyse

DECIDED = ("gain", "loss", "no gain")
_OF_A_GAIN = (
    *("gain", "gain_low", "gain_high", "p", "verdict", "method", "gain_error", "gain_sd"),
    *("gain_df", "detectable", "detectable_low", "detectable_high", "target_gain"),
    *("needed_low", "needed_high"),
)


def is_decided(verdict: str | None) -> bool:
    """Whether a verdict ends the runs of its row."""
    return bool(verdict) and str(verdict).startswith(DECIDED)


def judged(
    observations: Sequence[Observation],
    log: LookLog | None,
    baseline: str,
    *,
    targets: Mapping[str, float],
    controls: Collection[str],
) -> TableResult:
    """The statistics of a table, valid for the looks that were taken.

    Args:
        observations: All fine-tunings of the table.
        log: The looks so far; None if there was none.
        baseline: The row that gains are computed against.
        targets: As for :func:`transfer.stats.statistics.analyse`.
        controls: Likewise.
    """
    if log is None:
        return analyse(observations, baseline, targets=targets, controls=controls)
    if log.plan:
        return _planned(observations, log, targets, controls)
    found = analyse(observations, baseline, targets=targets, controls=controls, margin=log.margin)
    units = {row.row: row.n for row in found.rows}
    number = next((i for i, look in enumerate(log.looks, 1) if look.units == units), None)
    number = number or len(log.looks) + 1
    if number == 1:
        return found
    level = unplanned_level(number)
    found = analyse(
        observations,
        baseline,
        targets=targets,
        controls=controls,
        margin=log.margin,
        level=level,
        control_level=level,
    )
    note = (
        f"Runs were added after a look at the verdicts. This is look {number}, which was not "
        f"planned: its intervals hold at {1 - level:.2%} instead of 95 %, so that all looks "
        "together give at most 5.5 % false verdicts. 'transfer run --until-decided' plans looks "
        "and is stricter by much less."
    )
    return replace(found, notes=(note, *found.notes))


def at_look(
    observations: Sequence[Observation],
    log: LookLog,
    rows: Collection[str],
    number: int,
    *,
    targets: Mapping[str, float] | None = None,
    controls: Collection[str] = (),
) -> TableResult:
    """The statistics of one planned look.

    Args:
        observations: Fine-tunings of the table; later units than the look's are not used.
        log: The plan, and the first look's rows if it was taken.
        rows: The rows that take part, without the baseline.
        number: Number of the look, from 0.
        targets: As for :func:`transfer.stats.statistics.analyse`.
        controls: Likewise.
    """
    asked = log.looks[0].verdicts if log.looks else rows
    family = [row for row in asked if row not in controls]
    left = [row for row in rows if row not in controls]
    level = nominal_level(max(1, len(family)), log.plan) * max(1, len(left)) / max(1, len(family))
    return analyse(
        _at_units(observations, (log.baseline, *rows), log.plan[number]),
        log.baseline,
        targets=targets,
        controls=controls,
        margin=log.margin,
        level=level,
        control_level=nominal_level(1, log.plan),
    )


def _at_units(
    observations: Sequence[Observation], rows: Collection[str], units: int
) -> list[Observation]:
    """The fine-tunings that a planned look at some units of rows uses."""
    return [seen for seen in observations if seen.seed < units and seen.row in rows]


def not_judged(
    observations: Sequence[Observation], baseline: str, *, controls: Collection[str], reason: str
) -> TableResult:
    """The figures of a table without verdicts.

    Args:
        observations: All fine-tunings of the table.
        baseline: The row that gains are computed against.
        controls: As for :func:`transfer.stats.statistics.analyse`.
        reason: Why no interval would be valid, as a clause.
    """
    whole = analyse(observations, baseline, controls=controls)
    nothing: dict[str, Any] = dict.fromkeys(_OF_A_GAIN[1:])
    rows = tuple(replace(row, **nothing) for row in whole.rows)
    return replace(whole, rows=rows, method=None, reason=reason, family=())


def look_of(found: TableResult) -> Look:
    """What a look saw."""
    return Look(
        units={row.row: row.n for row in found.rows},
        verdicts={
            row.row: row.verdict or "no claim" for row in found.rows if row.row != found.baseline
        },
    )


def _planned(
    observations: Sequence[Observation],
    log: LookLog,
    targets: Mapping[str, float],
    controls: Collection[str],
) -> TableResult:
    """Every row with the interval of the look that decided it, or else of the last look."""
    reason = f"the first look is planned at {log.plan[0]} units a row"
    whole = not_judged(observations, log.baseline, controls=controls, reason=reason)
    blank: dict[str, RowResult] = {row.row: row for row in whole.rows}
    last = None
    for number, look in enumerate(log.looks):
        if not _at_units(observations, (log.baseline, *look.verdicts), log.plan[number]):
            continue  # their records were removed
        last = at_look(
            observations, log, tuple(look.verdicts), number, targets=targets, controls=controls
        )
        for row in last.rows:
            if row.row in look.verdicts and row.row in blank:
                values = {name: getattr(row, name) for name in _OF_A_GAIN}
                blank[row.row] = replace(blank[row.row], **values)
    plan = ", ".join(map(str, log.plan))
    taken = len(log.looks)
    note = (
        f"Looks were planned at {plan} units a row, and {taken} of {len(log.plan)} were taken. A "
        "row gets no more runs when it is decided; its gain and interval are those of that look, "
        "and all intervals together hold at 95 % for all looks."
    )
    if last is None:
        return replace(whole, notes=(note,))
    return replace(
        whole,
        rows=tuple(blank.values()),
        method=last.method,
        reason=last.reason,
        family=tuple(row for row in log.looks[0].verdicts if row not in controls),
        components=last.components,
        notes=(note, *whole.notes),
    )
