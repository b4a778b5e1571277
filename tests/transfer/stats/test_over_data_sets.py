"""Ranks and gains over data sets, against scipy, closed forms and all orders of the ranks."""

import itertools

import numpy as np
import pytest
from scipy import stats

from transfer.stats.critical import LEVEL
from transfer.stats.data_sets import _tails, combine, rank

# The example of Demsar 2006: AUC of C4.5 and its variants on 14 data sets, in percent. One of two
# equal figures has the digit that its printed rank shows.
DEMSAR = np.array([
    [76.3, 76.8, 77.1, 79.8], [59.9, 59.1, 59.0, 56.9], [95.4, 97.1, 96.8, 96.7],
    [62.8, 66.1, 65.4, 65.7], [88.2, 88.8, 88.6, 89.8], [93.6, 93.1, 91.6, 93.1],
    [66.1, 66.8, 60.9, 68.5], [58.3, 58.3, 56.3, 62.5], [77.5, 83.8, 86.6, 87.5],
    [100.0, 100.0, 100.0, 100.0], [94.0, 96.2, 96.5, 96.2], [61.9, 66.6, 61.4, 66.9],
    [97.2, 98.1, 97.51, 97.5], [95.7, 97.8, 94.6, 97.0],
])  # fmt: skip


def test_the_ranks_and_tests_of_the_published_example():
    found = rank(DEMSAR)
    assert found.mean == pytest.approx([3.143, 2.0, 2.893, 1.964], abs=0.001)
    # Bonferroni and Dunn's difference there is 1.16 from the normal distribution.
    assert found.critical == pytest.approx(2.394 * np.sqrt(4 * 5 / (6 * 14)), abs=0.06)
    assert found.overall == pytest.approx(stats.f.sf(3.69, 3, 39), abs=0.002)
    assert (found.p <= LEVEL).tolist() == [False, False, True]


def test_friedmans_test_agrees_with_scipy_where_there_are_no_ties():
    means = np.random.default_rng(0).normal(size=(7, 4))
    chi2 = stats.friedmanchisquare(*means.T).statistic
    f = 6 * chi2 / (7 * 3 - chi2)
    assert rank(means).overall == pytest.approx(stats.f.sf(f, 3, 18))


@pytest.mark.parametrize(("sets", "rows"), [(2, 2), (3, 3), (2, 4)])
def test_the_distribution_of_rank_sums_is_that_of_all_orders(sets, rows):
    one = [order[1] - order[0] for order in itertools.permutations(range(rows))]
    sums = np.abs([sum(several) for several in itertools.product(one, repeat=sets)])
    expected = [(sums >= least).mean() for least in range(sets * (rows - 1) + 1)]
    assert _tails(sets, rows) == pytest.approx(expected)


def test_five_data_sets_cannot_show_that_one_of_two_rows_is_better():
    found = rank(np.arange(10.0).reshape(5, 2))
    assert found.critical is None
    assert found.overall is None
    assert found.p == pytest.approx([2 / 2**5])


def test_the_same_order_everywhere_is_significant():
    found = rank(np.arange(24.0).reshape(6, 4))
    assert found.mean == pytest.approx([4, 3, 2, 1])
    assert found.overall == 0.0
    assert found.p[2] < LEVEL < found.p[0]


def test_rows_with_equal_figures_share_a_rank():
    assert rank(np.array([[1.0, 1.0, 0.0]] * 5)).mean == pytest.approx([1.5, 1.5, 3])


@pytest.mark.parametrize("errors", [np.zeros(5), np.full(5, 0.3), np.linspace(0.1, 0.9, 5)])
def test_the_interval_is_the_t_interval_of_the_gains(errors):
    gains = np.array([0.5, 1.5, 2.0, 0.0, 1.0])
    found = combine(gains, errors, 0.02)
    low, high = stats.t.interval(0.98, 4, gains.mean(), stats.sem(gains))
    assert (found.gain, found.low, found.high) == pytest.approx((1.0, low, high))
    left = gains.var(ddof=1) - (errors**2).mean()
    assert found.spread == pytest.approx(np.sqrt(left))


def test_gains_that_differ_less_than_their_errors_have_no_spread_between_data_sets():
    assert combine(np.array([0.9, 1.0, 1.1, 1.0, 1.0]), np.full(5, 0.5)).spread == 0


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_intervals_over_data_sets_cover_the_true_gain(spread):
    rng = np.random.default_rng(1)
    errors = rng.uniform(0.3, 1.2, (4000, 6))
    gains = 1 + rng.normal(size=errors.shape) * np.hypot(errors, spread)
    found = [combine(*one) for one in zip(gains, errors, strict=True)]
    assert np.mean([one.low <= 1 <= one.high for one in found]) >= 0.94
    recovered = np.mean([one.spread**2 for one in found])
    assert recovered == pytest.approx(spread**2, abs=0.2 + 0.05 * spread**2)


def test_equal_gains_have_no_spread():
    found = combine(np.full(5, 1.25), np.zeros(5))
    assert (found.gain, found.low, found.high, found.spread) == (1.25, 1.25, 1.25, 0.0)
