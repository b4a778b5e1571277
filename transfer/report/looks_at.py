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
    return _unplanned(observations, log, baseline, targets, controls)


def with_look(found: TableResult, log: LookLog) -> LookLog:
    """The log after a table was shown; the same log if that is no new look.

    Rows that were added since, while the others have as many units as before, belong to the look
    that saw the others. Looks of a plan are taken by ``--until-decided``; only those beyond its end
    are found here.

    Args:
        found: The statistics of the table.
        log: The looks so far.
    """
    look, before = look_of(found), len(log.plan)
    if found.method is None:
        return log
    if log.plan:
        rows = _undecided(log)
        if not _are_beyond(look.units, rows, log):
            return log
        look = Look(
            units={row: n for row, n in look.units.items() if row in {log.baseline, *rows}},
            verdicts={row: one for row, one in look.verdicts.items() if row in rows},
        )
    place = before + _number(look.units, log.looks[before:]) - 1
    if place < len(log.looks):
        same = log.looks[place]
        look = Look(units=same.units | look.units, verdicts=same.verdicts | look.verdicts)
    return replace(log, looks=(*log.looks[:place], look, *log.looks[place + 1 :]))


def _number(units: Mapping[str, int], looks: Sequence[Look]) -> int:
    """The place of a look among those taken, from 1, or after them."""
    places = (place for place, look in enumerate(looks, 1) if look.agrees(units))
    return next(places, len(looks) + 1)


def _unplanned(
    observations: Sequence[Observation],
    log: LookLog,
    baseline: str,
    targets: Mapping[str, float],
    controls: Collection[str],
) -> TableResult:
    """A table whose later looks share a small part of the level."""
    options: dict[str, Any] = {"targets": targets, "controls": controls, "margin": log.margin}
    found = analyse(observations, baseline, **options)
    number = _number({row.row: row.n for row in found.rows}, log.looks)
    if number == 1:
        return found
    level = unplanned_level(number)
    found = analyse(observations, baseline, **options, level=level, control_level=level)
    note = (
        f"Runs were added after a look at the verdicts. This is look {number}, which was not "
        f"planned: its intervals hold at {100 * (1 - level):.2f} % instead of 95 %, so that all "
        "looks together give at most 5.5 % false verdicts. Planned looks ('transfer run "
        "--until-decided') give narrower intervals."
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
    """Every row with the interval of the look that decided it, or else of the last look.

    Rows that are undecided at the end of the plan may get further runs. Their looks share a small
    part of the level, like looks without a plan.
    """
    reason = f"the first look is planned at {log.plan[0]} units a row"
    whole = not_judged(observations, log.baseline, controls=controls, reason=reason)
    blank: dict[str, RowResult] = {row.row: row for row in whole.rows}
    last = None
    for number, look in enumerate(log.looks[: len(log.plan)]):
        if not _at_units(observations, (log.baseline, *look.verdicts), log.plan[number]):
            continue  # their records were removed
        last = at_look(
            observations, log, tuple(look.verdicts), number, targets=targets, controls=controls
        )
        blank |= _with_gains(blank, last, look.verdicts)
    plan = ", ".join(map(str, log.plan))
    taken = min(len(log.looks), len(log.plan))
    notes = [
        f"Looks were planned at {plan} units a row, and {taken} of {len(log.plan)} were taken. A "
        "row gets no more runs when it is decided; its gain and interval are those of that look, "
        "and all intervals together hold at 95 % for all looks."
    ]
    rows = _undecided(log)
    if _are_beyond({row.row: row.n for row in whole.rows}, rows, log):
        last, beyond = _beyond_the_plan(observations, log, rows, targets, controls)
        blank |= _with_gains(blank, last, rows)
        notes.append(beyond)
    if last is None:
        return replace(whole, notes=tuple(notes))
    return replace(
        whole,
        rows=tuple(blank.values()),
        method=last.method,
        reason=f"at the last look, {last.reason}",
        family=tuple(row for row in log.looks[0].verdicts if row not in controls),
        components=last.components,
        notes=(*notes, *whole.notes),
    )


def _undecided(log: LookLog) -> list[str]:
    """Rows that the last planned look left undecided; none before that look."""
    if len(log.looks) < len(log.plan):
        return []
    verdicts = log.looks[len(log.plan) - 1].verdicts
    return [row for row, one in verdicts.items() if not is_decided(one)]


def _are_beyond(units: Mapping[str, int], rows: Collection[str], log: LookLog) -> bool:
    """Whether undecided rows have got more units than the plan has."""
    return any(units.get(row, 0) > log.plan[-1] for row in rows)


def _beyond_the_plan(
    observations: Sequence[Observation],
    log: LookLog,
    rows: Collection[str],
    targets: Mapping[str, float],
    controls: Collection[str],
) -> tuple[TableResult, str]:
    """The look at rows whose plan has ended, and a note on it."""
    chosen = [seen for seen in observations if seen.row in {log.baseline, *rows}]
    options: dict[str, Any] = {"targets": targets, "controls": controls, "margin": log.margin}
    units = {row.row: row.n for row in analyse(chosen, log.baseline, controls=controls).rows}
    number = _number(units, log.looks[len(log.plan) :])
    level = unplanned_level(number + 1)
    note = (
        f"Runs of {', '.join(rows)} were added after the plan had ended. This is look {number} "
        f"beyond it: its intervals hold at {100 * (1 - level):.2f} %, so that all looks together "
        "give at most 5.5 % false verdicts."
    )
    return analyse(chosen, log.baseline, **options, level=level, control_level=level), note


def _with_gains(
    rows: Mapping[str, RowResult], judged: TableResult, names: Collection[str]
) -> dict[str, RowResult]:
    """Rows with the gains and verdicts of one look."""
    return {
        row.row: replace(rows[row.row], **{name: getattr(row, name) for name in _OF_A_GAIN})
        for row in judged.rows
        if row.row in names and row.row in rows
    }
