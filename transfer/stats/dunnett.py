"""Dunnett's distribution: the largest of several t statistics with a common baseline.

``scipy.stats.dunnett`` implements the same test, and our tests compare with it. The tables do not
use it, for three measured reasons (scipy 1.17, two cores, six rows of five):

* It integrates by randomised quasi-Monte Carlo, separately for p-values and intervals, so near the
  threshold a p-value below .05 can come with an interval that includes zero, and both change with
  the seed (in the fifth digit of p). Here both come from one function.
* It takes 80 ms per table, 400 ms for twelve rows and 2.4 s for thirty. Here it takes 1 ms, so the
  simulations that justify the tables can call the same function some 200,000 times.
* It does not offer the critical value, which the power of every design needs.

With a common baseline the correlations factor, rho_ij = l_i l_j with l_i = sqrt(n_i / (n_i + n_0))
(Dunnett 1955, p. 1103), so the k-dimensional integral is a smooth two-dimensional one and
Gauss-Legendre quadrature computes it to nine digits or more (Dunnett 1964, section 3):

    P(max |T_i| <= c) = E_S E_Z prod_i [Phi((c S + l_i Z) / r_i) - Phi((-c S + l_i Z) / r_i)]

with r_i = sqrt(1 - l_i^2), Z standard normal and S = sqrt(chi^2_df / df).

Dunnett 1955: A Multiple Comparison Procedure for Comparing Several Treatments with a Control,
Journal of the American Statistical Association 50. Dunnett 1964: New Tables for Multiple
Comparisons with a Control, Biometrics 20.
"""

from collections import Counter
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_SPREAD_NODES = 64
_SHARED_NODES = 48
_SHARED_NODES_UNEVEN = 256  # a row with over 15 times the baseline's runs gives a steep integrand
_SHARED_END = 8.5  # standard deviations; the normal tail beyond weighs 2e-17
_TAIL = 1e-15


def adjusted_p(statistics: FloatArray, n_baseline: int, n_rows: tuple[int, ...]) -> FloatArray:
    """Single-step two-sided p-values of t statistics against one baseline.

    Args:
        statistics: (rows,) gains over their standard errors, with the spread pooled.
        n_baseline: observations of the baseline, 1 or more.
        n_rows: observations of each row of the family, 1 or more.

    Returns:
        (rows,) adjusted p-values in [0, 1], exact to 2e-9.
    """
    inside = _probability(np.abs(statistics), n_baseline, tuple(sorted(n_rows)))
    return np.clip(1.0 - inside, 0.0, 1.0)


@lru_cache(maxsize=4096)
def critical_value(n_baseline: int, n_rows: tuple[int, ...], level: float) -> float:
    """Half-width of the simultaneous two-sided intervals, in standard errors.

    Args:
        n_baseline: observations of the baseline, 1 or more.
        n_rows: observations of each row of the family, in any order.
        level: family-wise error rate, in (0, 1).
    """
    from scipy import optimize, special

    rows = tuple(sorted(n_rows))
    df = degrees_of_freedom(n_baseline, rows)
    # The t test bounds the result from below, Bonferroni's inequality from above.
    low = float(special.stdtrit(df, 1 - level / 2))
    high = float(special.stdtrit(df, 1 - level / (2 * len(rows))))

    def excess(critical: float) -> float:
        return float(_probability(np.array([critical]), n_baseline, rows)[0]) - (1 - level)

    return float(optimize.brentq(excess, low * (1 - 1e-6), high * (1 + 1e-6), xtol=1e-9))


def degrees_of_freedom(n_baseline: int, n_rows: tuple[int, ...]) -> int:
    """Degrees of freedom of the spread pooled over the baseline and all rows."""
    return n_baseline + sum(n_rows) - len(n_rows) - 1


def _probability(bounds: FloatArray, n_baseline: int, n_rows: tuple[int, ...]) -> FloatArray:
    """P(max |T_i| <= bound) for each bound, by the formula in the module's docstring."""
    from scipy import special

    spread, spread_weight = _spread_quadrature(degrees_of_freedom(n_baseline, n_rows))
    uneven = max(n_rows) > 15 * n_baseline
    shared, shared_weight = _shared_quadrature(_SHARED_NODES_UNEVEN if uneven else _SHARED_NODES)
    product = np.ones((len(bounds), len(spread), len(shared)))
    for n, count in Counter(n_rows).items():  # rows of one size share one factor
        loading = np.sqrt(n / (n + n_baseline))
        rest = np.sqrt(n_baseline / (n + n_baseline))
        centre = loading * shared / rest
        reach = (bounds[:, None] * spread / rest)[:, :, None]
        product *= (special.ndtr(reach + centre) - special.ndtr(centre - reach)) ** count
    result: FloatArray = (product @ shared_weight) @ spread_weight
    return result


@cache
def _shared_quadrature(count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of E_Z over z >= 0; the integrand is even in z."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    z = (nodes + 1) * _SHARED_END / 2
    return z, weights * _SHARED_END * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


@lru_cache(maxsize=4096)
def _spread_quadrature(df: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of E_S, S = sqrt(chi^2_df / df)."""
    from scipy import special

    low = np.sqrt(2 * special.gammaincinv(df / 2, _TAIL) / df)
    high = np.sqrt(2 * special.gammainccinv(df / 2, _TAIL) / df)
    nodes, weights = np.polynomial.legendre.leggauss(_SPREAD_NODES)
    s = (high - low) / 2 * nodes + (high + low) / 2
    log_density = (
        np.log(2) + df / 2 * np.log(df / 2) - special.gammaln(df / 2)
        + (df - 1) * np.log(s) - df * s**2 / 2
    )  # fmt: skip
    return s, weights * (high - low) / 2 * np.exp(log_density)
