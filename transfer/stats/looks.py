"""Seeds until decided: intervals that stay valid when verdicts are looked at several times.

Looks are planned at increasing numbers of units. All looks have the same nominal level, chosen so
that the chance of any false verdict at any look is 5 % (Pocock 1977, Biometrika 64, for one row
and known spreads; here for the design at hand, from simulated tables). A row that is decided gets
no further units. The remaining rows keep their share of the nominal level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from transfer.stats.blocks import worth_blocking
from transfer.stats.critical import LEVEL, critical_value
from transfer.stats.spreads import Design, of_blocks, of_independent, squared_errors

FloatArray = npt.NDArray[np.float64]

TABLES = 40_000
_NUMBERS_AT_ONCE = 4_000_000
LATER = 0.005
"""Chance of a false verdict at all looks together that were not planned."""


def design_at(rows: int, units: int) -> Design:
    """The design of a look at some rows and their baseline, which share their seeds."""
    return Design((units,) * (rows + 1), worth_blocking(rows, units))


@lru_cache(maxsize=64)
def nominal_level(rows: int, looks: tuple[int, ...], level: float = LEVEL) -> float:
    """Level of each look at which all looks together have the given level.

    Args:
        rows: rows beside the baseline, 1 or more.
        looks: increasing numbers of units at the looks, 2 or more each.
        level: chance of any false verdict at any look.
    """
    rng = np.random.default_rng(0)
    largest = np.empty((len(looks), TABLES))
    at_once = max(1, _NUMBERS_AT_ONCE // ((rows + 1) * looks[-1]))
    for start in range(0, TABLES, at_once):
        units = rng.standard_normal((min(at_once, TABLES - start), rows + 1, looks[-1]))
        for place, look in enumerate(looks):
            gains, errors = statistics(units[:, :, :look], worth_blocking(rows, look))
            largest[place, start : start + at_once] = np.abs(gains / errors).max(axis=1)
    smallest: FloatArray = np.ones(TABLES)
    for of_look in largest:
        ranks = np.argsort(np.argsort(-of_look)) + 1.0
        smallest = np.minimum(smallest, ranks / TABLES)
    return float(np.quantile(smallest, level))


def critical_values(rows: int, looks: tuple[int, ...]) -> list[float]:
    """The critical value of each look while no row is decided."""
    level = nominal_level(rows, looks)
    return [critical_value(design_at(rows, look), level) for look in looks]


def unplanned_level(look: int) -> float:
    """Level of the intervals at the j-th look at a table whose looks were not planned.

    The first look has the usual 5 %. All later ones share :data:`LATER`, so that adding units
    until a verdict comes gives at most 5.5 % false verdicts, however often it is done.

    Args:
        look: j, from 1.
    """
    return LEVEL if look == 1 else LATER * 6 / np.pi**2 / (look - 1) ** 2


def statistics(units: FloatArray, blocked: bool) -> tuple[FloatArray, FloatArray]:
    """Gains and standard errors of many tables with as many units in each row.

    Args:
        units: (tables, groups, n) values, the baseline first.
        blocked: whether the i-th units of a table share a block.

    Returns:
        (tables, groups - 1) gains, and their standard errors.
    """
    count = units.shape[2]
    design = Design((count,) * units.shape[1], blocked)
    means = units.mean(axis=2)
    apart = units - means[:, :, None]
    variances = (apart**2).sum(axis=2) / (count - 1)
    if blocked:
        sums = np.einsum("tgn,tn->tg", apart, apart.sum(axis=1)) / (count - 1)
        spreads = of_blocks(variances, sums)
    else:
        spreads = of_independent(variances, design.sizes)
    return means[:, 1:] - means[:, :1], np.sqrt(squared_errors(spreads, design))


@dataclass(frozen=True)
class Course:
    """What simulated suites that stop their rows came to.

    Attributes:
        gains: (tables, rows) gains at the look where each row stopped.
        reach: (tables, rows) half-widths of their intervals.
        units: (tables, rows) units of each row when it stopped.
        decided: (tables, rows) whether it stopped with a verdict.
    """

    gains: FloatArray
    reach: FloatArray
    units: FloatArray
    decided: npt.NDArray[np.bool_]


def course(
    units: FloatArray,
    looks: Sequence[int],
    *,
    beyond: Sequence[int] = (),
    margin: float = 0.0,
    only_losses: bool = False,
) -> Course:
    """Follow simulated suites from look to look, with the rules of ``--until-decided``.

    Args:
        units: (tables, groups, n) values, the baseline first, as many as at the last look or more.
        looks: numbers of units at the looks.
        beyond: numbers of units at later looks, to which undecided rows go on after the plan.
        margin: largest difference that does not matter; 0 if none was fixed.
        only_losses: whether a row stops at a loss only; otherwise at any verdict.
    """
    tables, rows = len(units), units.shape[1] - 1
    level = nominal_level(rows, tuple(looks))
    gains, reach = np.zeros((2, tables, rows))
    stopped_at = np.zeros((tables, rows))
    decided = np.zeros((tables, rows), dtype=bool)
    for number, look in enumerate([*looks, *beyond], 1 - len(looks)):
        active = ~decided
        for pattern in np.unique(active, axis=0):
            if not pattern.any():
                continue
            some = np.flatnonzero((active == pattern).all(axis=1))
            places = np.flatnonzero(pattern)
            left = len(places)
            chosen = units[some][:, [0, *(places + 1)], :look]
            found, errors = statistics(chosen, worth_blocking(left, look))
            own = level * left / rows if number < 1 else unplanned_level(number + 1)
            half = critical_value(design_at(left, look), own) * errors
            at = np.ix_(some, places)
            gains[at], reach[at], stopped_at[at] = found, half, look
            ends = found <= -half if only_losses else np.abs(found) >= half
            if margin:
                ends |= np.abs(found) + half <= margin
            decided[at] = ends
    return Course(gains, reach, stopped_at, decided)
