"""The interval by which the default path is judged against stock training."""

import numpy as np
import pytest
from scipy import stats

from backbones.errors import UserError
from transfer import cli
from transfer.bench.equivalence import difference


def test_the_interval_is_students_and_agrees_with_two_one_sided_tests():
    draws = np.random.default_rng(0)
    stock = draws.normal(60, 2, 8)
    for shift, spread in ((0.0, 0.2), (0.4, 0.3), (1.5, 0.3), (0.0, 3.0)):
        ours = stock + draws.normal(shift, spread, 8)
        found = difference(ours.tolist(), stock.tolist())
        low, high = stats.ttest_rel(ours, stock).confidence_interval(0.90)
        assert (found.low, found.high) == pytest.approx((low, high))
        above = stats.ttest_rel(ours + 0.5, stock, alternative="greater").pvalue
        below = stats.ttest_rel(ours - 0.5, stock, alternative="less").pvalue
        assert (found.verdict == "equivalent") == (max(above, below) <= 0.05)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, -0.1, 0.0), "equivalent"),
        ((2.0, 2.1, 2.2), "different"),
        ((-3.0, 3.0, 0.0), "cannot tell"),
        ((0.0, 0.0), "equivalent"),
    ],
)
def test_the_verdict_follows_from_half_a_point(values, verdict):
    assert difference(values, [0.0] * len(values)).verdict == verdict


@pytest.mark.parametrize("values", [(), (1.0,), (1.0, float("nan"))])
def test_one_seed_or_a_missing_metric_is_a_sentence(values):
    with pytest.raises(UserError, match="two seeds"):
        difference(values, values)


def test_classifiers_have_no_stock_to_be_equivalent_to(capsys):
    assert cli.main(["bench", "--equivalence"]) == 2
    assert "--task detection" in capsys.readouterr().err
