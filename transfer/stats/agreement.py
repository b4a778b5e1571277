"""Agreement with the paper: a prediction interval for a difference of two single runs."""

import math
from dataclasses import dataclass
from typing import Literal

from transfer.stats.rows import RowResult

Agreement = Literal["agrees", "disagrees"]


@dataclass(frozen=True, kw_only=True)
class PaperAgreement:
    """The paper's gain of one row, compared with our prediction interval.

    Attributes:
        row: the zoo's row.
        paper_gain: the paper's row minus its baseline, in points.
        low: lower end of the 95 % prediction interval, in points; None without an interval.
        high: its upper end.
        verdict: ``agrees`` if the paper's gain is inside; None without an interval.
        assumption: the interval's assumption, or why there is none.
    """

    row: str
    paper_gain: float
    low: float | None
    high: float | None
    verdict: Agreement | None
    assumption: str


def agreement(row: RowResult, baseline: RowResult, paper_gain: float) -> PaperAgreement:
    """Judge the paper's gain, a difference of two single runs, with a prediction interval.

    If the paper's two runs came from our distributions, their difference minus our gain would have
    the variance of our gain's error plus that of one more run of each row. The caller must ensure
    that data and protocol are the paper's.

    Args:
        row: a row that :func:`transfer.stats.statistics.analyse` compared with the baseline.
        baseline: the baseline of the same table.
        paper_gain: the paper's row minus the paper's baseline, in points.
    """
    from scipy import special

    error, sd, df = row.gain_error, row.gain_sd, row.gain_df
    if row.gain is None or error is None or sd is None or df is None:
        reason = "our own gain has no interval, so it predicts nothing"
        return PaperAgreement(
            row=row.row, paper_gain=paper_gain, low=None, high=None, verdict=None, assumption=reason
        )
    runs = 2 * sd**2 + _within_part(row) + _within_part(baseline)
    if row.method == "blocked Dunnett":  # the paper's runs share no seeds with ours
        runs = (row.sd_run or 0.0) ** 2 + (baseline.sd_run or 0.0) ** 2
        df = row.n + baseline.n - 2
    # The variances of single runs outweigh those of the means.
    half = float(special.stdtrit(df, 0.975)) * math.sqrt(error**2 + runs)
    low, high = row.gain - half, row.gain + half
    verdict: Agreement = "agrees" if low <= paper_gain <= high else "disagrees"
    assumption = (
        "the paper's runs vary as much as ours, with a standard deviation of "
        f"{math.sqrt(runs / 2):.2f} points"
    )
    if "fine-tuning" in (row.unit, baseline.unit):
        assumption += (
            "; ours are fine-tunings of given weights, so the variation between trainings of the "
            "classifier is missing and the interval may be too narrow"
        )
    return PaperAgreement(
        row=row.row,
        paper_gain=paper_gain,
        low=low,
        high=high,
        verdict=verdict,
        assumption=assumption,
    )


def _within_part(row: RowResult) -> float:
    """Variance of a single run that averaging over fine-tunings removes."""
    return (row.sd_run or 0.0) ** 2 - (row.sd or 0.0) ** 2
