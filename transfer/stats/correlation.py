"""Correlation of the classifiers' top-1 with the transfer metric, one point per row."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FEWEST_ROWS = 5
RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Pearson's and Spearman's correlation over rows, with 95 % bootstrap intervals.

    All coefficients are None if there is a ``reason``. ``left_out`` names rows without a finite
    pair of figures. If all rows are ``in_order``, so is every resample, and Spearman's interval has
    no width and no meaning.
    """

    n: int
    pearson: float | None = None
    pearson_low: float | None = None
    pearson_high: float | None = None
    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None
    reason: str | None = None
    in_order: bool = False
    left_out: tuple[str, ...] = ()


def correlate(points: Mapping[str, tuple[float, float]]) -> Correlation:
    """Correlate two figures over rows; the intervals are percentiles of resampled rows.

    With so few rows the percentile bootstrap is rough and rather too narrow: it shows how much
    depends on single rows and is not a test. The random draws are fixed.

    Args:
        points: for each row, the top-1 of the weights used and the row's mean metric, in points.
    """
    return _correlate(tuple(points.items()))


@lru_cache(maxsize=256)  # a picture and its caption use the same points
def _correlate(points: tuple[tuple[str, tuple[float, float]], ...]) -> Correlation:
    finite = {row: pair for row, pair in points if np.isfinite(pair).all()}
    left_out = tuple(
        f"{row}: its top-1 or its metric is not a number" for row, _ in points if row not in finite
    )
    n = len(finite)
    if n < FEWEST_ROWS:
        reason = f"{n} rows; a correlation needs at least {FEWEST_ROWS}"
        return Correlation(n=n, reason=reason, left_out=left_out)
    # Sorted, so that the order of rows does not matter.
    x, y = np.array(sorted(finite.values()), dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        reason = "one of the two figures is equal in all rows"
        return Correlation(n=n, reason=reason, left_out=left_out)
    draws = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    # A draw that repeats one row, or rows of equal figures, has no correlation.
    draws = draws[(np.ptp(x[draws], axis=1) > 0) & (np.ptp(y[draws], axis=1) > 0)]
    pearson = _pearson(x[None], y[None])[0]
    spearman = _pearson(_ranks(x[None]), _ranks(y[None]))[0]
    pearson_low, pearson_high = _percentiles(_pearson(x[draws], y[draws]))
    spearman_low, spearman_high = _percentiles(_pearson(_ranks(x[draws]), _ranks(y[draws])))
    return Correlation(
        n=n,
        pearson=float(pearson),
        pearson_low=pearson_low,
        pearson_high=pearson_high,
        spearman=float(spearman),
        spearman_low=spearman_low,
        spearman_high=spearman_high,
        in_order=bool(abs(spearman) > 1 - 1e-9),
        left_out=left_out,
    )


def _pearson(x: FloatArray, y: FloatArray) -> FloatArray:
    """Pearson's correlation of each line of two (draws, rows) arrays."""
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.clip((x * y).sum(axis=1) / scale, -1.0, 1.0)


def _ranks(values: FloatArray) -> FloatArray:
    """Ranks within each line of a (draws, rows) array, ties sharing their mean rank."""
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return below + (equal + 1) / 2


def _percentiles(coefficients: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(coefficients, (2.5, 97.5))
    return float(low), float(high)
