"""One row of a table: what its fine-tunings are, and its figures.

The unit is the classifier. A row with several classifiers describes its recipe: its fine-tunings
are averaged within each classifier first, and n counts classifiers. A row with one classifier, such
as public weights, describes these weights only, and n counts fine-tunings. Every fine-tuning from
random weights draws its own: each is a unit.
"""

from dataclasses import dataclass
from typing import Literal

from transfer.stats.comparison import Method

Unit = Literal["classifier", "fine-tuning", "run from random weights"]

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

    Attributes:
        row: the zoo's row.
        classifier: identity of the fine-tuned weights, or
            :data:`transfer.records.comparable.RANDOM`.
        seed: the fine-tuning's seed.
        value: the metric in points, 0 to 100.
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
