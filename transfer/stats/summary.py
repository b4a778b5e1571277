"""Fine-tunings averaged to the units of a row, with mean, interval and spreads."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.comparable import RANDOM
from transfer.stats.rows import ABOUT, Observation, RowResult, Unit

FloatArray = npt.NDArray[np.float64]

LEAST_SPREAD = 0.005
"""Points. A smaller standard deviation is less than half of the last printed digit, so all units
gave the same figure."""


def sort_observations(
    observations: Iterable[Observation],
) -> tuple[dict[str, list[Observation]], list[str]]:
    """Group finite observations by row, and list the others.

    Returns:
        The rows in the order they came, and a sentence for each observation left out.

    Raises:
        UserError: no finite observation was given, or one fine-tuning was given twice.
    """
    rows: dict[str, list[Observation]] = defaultdict(list)
    left_out: list[str] = []
    seen: set[tuple[str, str, int]] = set()
    for seen_as in observations:
        key = (seen_as.row, seen_as.classifier, seen_as.seed)
        name = f"{seen_as.row}, classifier {seen_as.classifier}, seed {seen_as.seed}"
        if key in seen:
            raise UserError(
                f"{name} appears twice: each fine-tuning counts once, so keep one of its records "
                "and remove the other"
            )
        seen.add(key)
        if math.isfinite(seen_as.value):
            rows[seen_as.row].append(seen_as)
        else:
            left_out.append(f"{name}: its metric is {seen_as.value}")
    if not rows:
        found = f"; left out: {'; '.join(left_out)}" if left_out else ""
        raise UserError(
            "a table needs one finished fine-tuning with a finite metric, but there is none"
            f"{found}; run the suite first, or find out why its runs failed"
        )
    return dict(rows), left_out


def unit_values(observations: Sequence[Observation]) -> FloatArray:
    """The (n,) values of one row's units: classifiers' means, or single fine-tunings."""
    cells = _by_classifier(observations)
    return cells[0] if len(cells) == 1 else np.array([cell.mean() for cell in cells])


def summarise(observations: Sequence[Observation]) -> RowResult:
    """Mean, t interval and spreads of one row, without its gain.

    Args:
        observations: the finite observations of one row, at least one.
    """
    cells = _by_classifier(observations)
    values = unit_values(observations)
    unit = _unit(observations)
    random = unit == "run from random weights"
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    within = None if random else _pooled_sd(cells)
    low, high = mean_interval(values)
    return RowResult(
        row=observations[0].row,
        unit=unit,
        about=ABOUT[unit],
        n=len(values),
        classifiers=0 if random else len(cells),
        fine_tunings=len(observations),
        mean=float(np.mean(values)),
        ci_low=low,
        ci_high=high,
        sd=sd,
        sd_between=_between_sd(sd, within, cells) if unit == "classifier" else None,
        sd_within=within,
        sd_run=_run_sd(sd, within, cells) if unit == "classifier" else sd,
    )


def _unit(observations: Sequence[Observation]) -> Unit:
    classifiers = {seen.classifier for seen in observations}
    if len(classifiers) > 1:
        return "classifier"
    return "run from random weights" if classifiers == {RANDOM} else "fine-tuning"


def mean_interval(values: FloatArray) -> tuple[float, float] | tuple[None, None]:
    """95 % t interval of a mean.

    Args:
        values: (n,) values of the units, in points.

    Returns:
        Lower and upper end; None for both if n is 1 or the values are equal as printed.
    """
    from scipy import special

    n = len(values)
    if n < 2 or (sd := float(np.std(values, ddof=1))) < LEAST_SPREAD:
        return None, None
    half = float(special.stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    mean = float(np.mean(values))
    return mean - half, mean + half


def _by_classifier(observations: Sequence[Observation]) -> list[FloatArray]:
    cells: dict[str, list[float]] = defaultdict(list)
    for seen in observations:
        cells[seen.classifier].append(seen.value)
    return [np.array(values, dtype=float) for values in cells.values()]


def _pooled_sd(cells: Sequence[FloatArray]) -> float | None:
    """Spread of fine-tunings within a classifier, pooled over those fine-tuned twice or more."""
    df = sum(len(cell) - 1 for cell in cells)
    if df == 0:
        return None
    return math.sqrt(sum(float(((cell - cell.mean()) ** 2).sum()) for cell in cells) / df)


def _between_sd(
    sd: float | None, within: float | None, cells: Sequence[FloatArray]
) -> float | None:
    """Spread of classifiers alone: var(means) also has 1/m of the fine-tunings' variance."""
    if sd is None or within is None:
        return None
    kept = sum(1 / len(cell) for cell in cells) / len(cells)
    return math.sqrt(max(0.0, sd**2 - kept * within**2))


def _run_sd(between: float | None, within: float | None, cells: Sequence[FloatArray]) -> float:
    """Spread of single runs: var(means) contains only 1/m of the fine-tunings' variance."""
    kept = sum(1 / len(cell) for cell in cells) / len(cells)
    return math.sqrt((between or 0.0) ** 2 + (1 - kept) * (within or 0.0) ** 2)
