"""One row of a table: fine-tunings averaged to units, with mean, interval and spreads.

The unit is the classifier. A row with several classifiers describes its recipe: its fine-tunings
are averaged within each classifier first, and n counts classifiers. A row with one classifier, such
as public weights, describes these weights only, and n counts fine-tunings. Every fine-tuning from
random weights draws its own: each is a unit.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.comparable import RANDOM
from transfer.stats.comparison import Method

FloatArray = npt.NDArray[np.float64]
Unit = Literal["classifier", "fine-tuning", "run from random weights"]

LEAST_SPREAD = 0.005
"""Points. A smaller standard deviation is less than half of the last printed digit, so all units
gave the same figure."""

SEVERAL: dict[Unit, str] = {
    "classifier": "classifiers",
    "fine-tuning": "fine-tunings",
    "run from random weights": "runs from random weights",
}
"""Units in the plural."""

ABOUT: dict[Unit, str] = {
    "classifier": "about the recipe",
    "fine-tuning": "about these weights, not about the recipe",
    "run from random weights": "about training from random weights, which every run draws anew",
}


@dataclass(frozen=True)
class Observation:
    """One finished fine-tuning.

    ``row`` is the zoo's row, ``classifier`` distinguishes the fine-tuned weights or is
    :data:`RANDOM`, ``seed`` is the fine-tuning's, and ``value`` the metric in points, 0 to 100.
    """

    row: str
    classifier: str
    seed: int
    value: float


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """One row of a table. All figures are in the metric's points; None is an empty cell.

    Attributes:
        row: the zoo's row.
        unit: the unit that n counts.
        about: the subject of the row's figures, in words.
        n: number of units.
        classifiers: number of fine-tuned classifiers; 0 for random weights.
        fine_tunings: number of fine-tunings.
        mean: mean over units.
        ci_low: lower end of the mean's own 95 % t interval; None at n = 1 or without spread.
        ci_high: its upper end.
        sd: standard deviation of a unit, used in the t interval; None at n = 1.
        sd_between: standard deviation between classifiers, without the part of their fine-tunings;
            0 where that part explains all; None if the two cannot be separated.
        sd_within: standard deviation of fine-tunings of one classifier, pooled over classifiers;
            None if none was fine-tuned twice.
        sd_run: standard deviation of a single run, one classifier fine-tuned once; None at n = 1.
        gain: mean minus the baseline's mean, over complete blocks where the table has blocks; None
            for the baseline and without one.
        gain_low: lower end of the gain's simultaneous 95 % interval.
        gain_high: its upper end.
        p: p-value, adjusted for all rows of the family.
        verdict: ``gain``, ``loss``, ``no gain beyond ±`` the margin, or ``inconclusive``, from the
            gain's interval; None if there is none.
        method: the method of the interval; None if there is none.
        gain_error: standard error of the gain, with the method's pooling.
        gain_sd: standard deviation of a unit behind that error, row and baseline taken together.
        gain_df: degrees of freedom of both.
        detectable: smallest true gain that this design finds with 80 % power, at the spread
            observed; given if the verdict is ``inconclusive``, as are the next five.
        detectable_low: the same at the lower end of the spread's 95 % interval.
        detectable_high: the same at its upper end.
        target_gain: the gain of the next two; None if its cost is unknown.
        needed_low: units per row, baseline included, that find ``target_gain`` with 80 % power,
            at the lower end of the spread's interval; None for more than 100.
        needed_high: the same at its upper end.
        control: whether it is a control, which is compared alone and enters no pooled spread.
        notes: remarks for readers on this row, in sentences.
    """

    row: str
    unit: Unit
    about: str
    n: int
    classifiers: int
    fine_tunings: int
    mean: float
    ci_low: float | None = None
    ci_high: float | None = None
    sd: float | None = None
    sd_between: float | None = None
    sd_within: float | None = None
    sd_run: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    p: float | None = None
    verdict: str | None = None
    method: Method | None = None
    gain_error: float | None = None
    gain_sd: float | None = None
    gain_df: float | None = None
    detectable: float | None = None
    detectable_low: float | None = None
    detectable_high: float | None = None
    target_gain: float | None = None
    needed_low: int | None = None
    needed_high: int | None = None
    control: bool = False
    notes: tuple[str, ...] = ()

    @property
    def no_claim(self) -> str | None:
        """Why this row can have no verdict, in words; None if it can."""
        if self.n == 1:
            return f"only one {self.unit}, so no interval and no verdict"
        if self.ci_low is None:
            return (
                f"all {self.n} {SEVERAL[self.unit]} gave the same figure, so there is no "
                "spread to judge by; check whether their seeds took effect"
            )
        return None


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
