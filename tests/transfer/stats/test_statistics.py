import dataclasses
import itertools
import json
import math
import re
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from backbones.common.errors import UserError
from transfer.records import wording
from transfer.stats.agreement import agreement
from transfer.stats.comparison import compare, spread_p
from transfer.stats.correlation import correlate
from transfer.stats.dunnett import adjusted_p, critical_value
from transfer.stats.power import Design, power, sd_interval, smallest_effect, units_needed
from transfer.stats.rows import RANDOM
from transfer.stats.simulate import (
    SCENARIOS,
    SD,
    Group,
    false_verdicts,
    false_verdicts_over_splits,
    simulate,
)
from transfer.stats.statistics import Observation, TableResult, analyse

ROOT = Path(__file__).resolve().parents[3]

# Four runs of one Faster R-CNN configuration (mmdetection#2773).
ISSUE_2773 = (80.86, 79.74, 79.85, 80.09)

# The examples of Dunnett 1955: breaking strength of fabric, and blood cell counts. The
# intervals and p-values are those of R's multcomp (glht, two-sided), as scipy's tests quote them.
FABRIC = ([55, 47, 48], [[55, 64, 64], [55, 49, 52], [50, 44, 41]])
FABRIC_LOW = [0.7529028, -8.2470972, -15.2470972]
FABRIC_HIGH = [21.2470972, 12.2470972, 5.2470972]
FABRIC_P = [0.036407, 0.896539, 0.409295]
BLOOD = (
    [7.40, 8.50, 7.20, 8.24, 9.84, 8.32],
    [[9.76, 8.80, 7.68, 9.36], [12.80, 9.68, 12.16, 9.20, 10.55]],
)
BLOOD_LOW = [-1.2564116, 0.8396274]
BLOOD_HIGH = [2.5564116, 4.4163726]
BLOOD_P = [0.6201020, 0.0058254]

# Dunnett 1964, Table II (two-sided, joint confidence 95 %): degrees of freedom, rows, value.
TABLE_1964 = [
    (5, 4, 3.48), (8, 1, 2.31), (8, 3, 2.88), (8, 7, 3.29), (10, 4, 2.89), (10, 9, 3.24),
    (12, 2, 2.50), (12, 3, 2.68), (12, 5, 2.90), (14, 6, 2.91), (20, 3, 2.54), (20, 4, 2.65),
    (20, 9, 2.95), (30, 2, 2.32), (30, 5, 2.66), (60, 3, 2.41), (60, 5, 2.58), (60, 9, 2.77),
]  # fmt: skip

TOP1 = (76.14, 77.16, 77.91, 78.34, 78.67, 79.16, 79.29)
PAPER_POINTS = {
    "mAP": (77.54, 78.30, 79.23, 80.71, 80.96, 81.10, 81.33),
    "mIoU": (37.05, 38.88, 39.33, 38.75, 38.90, 37.99, 38.40),
    "pixAcc": (78.08, 78.88, 79.25, 78.64, 78.97, 78.47, 78.72),
}


def observe(table: dict[str, list[float]]) -> list[Observation]:
    """Rows of public weights, one classifier each, fine-tuned with seeds 0, 1, 2 and so on."""
    return [
        Observation(row, "hub", seed, value)
        for row, values in table.items()
        for seed, value in enumerate(values)
    ]


def rows_of(table: TableResult) -> dict:
    return {row.row: row for row in table.rows}


def recipe_of(row: str, values: list[float], classifier: str = "") -> list[Observation]:
    """Runs of a row, each of a classifier of its own where none is named."""
    return [Observation(row, classifier or f"{row}{i}", i, v) for i, v in enumerate(values)]


def noise(seed: int, rows: int = 7, n: int = 5) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(80, 0.5, size=(rows, n)))


# --- a row by itself


def test_t_interval_of_four_identical_runs():
    row = analyse(observe({"base": list(ISSUE_2773)}), "base").rows[0]
    # By hand: squares .525625 + .156025 + .081225 + .002025 = .7649, over 3; t(3) is 3.1824.
    assert row.mean == pytest.approx(80.135)
    assert row.sd == pytest.approx(math.sqrt(0.7649 / 3))
    assert row.ci_low == pytest.approx(80.135 - 3.182446 * row.sd / 2, abs=1e-6)
    assert row.ci_high == pytest.approx(80.135 + 3.182446 * row.sd / 2, abs=1e-6)


def test_one_seed_shows_no_interval_and_claims_nothing():
    table = analyse(observe({"base": [77, 78, 79], "once": [99], "more": [78, 79, 80]}), "base")
    once = rows_of(table)["once"]
    assert (once.ci_low, once.ci_high, once.sd) == (None, None, None)
    assert (once.gain, once.gain_low, once.verdict) == (21, None, None)
    assert table.family == ("more",)
    assert table.left_out == ("once: only one fine-tuning, so no interval and no verdict",)


def test_one_classifier_speaks_of_its_weights_and_several_of_the_recipe():
    weights = rows_of(analyse(observe({"base": [77.0, 78.0]}), "base"))["base"]
    assert (weights.unit, weights.n) == ("fine-tuning", 2)
    assert weights.about == "about these weights, not about the recipe"
    assert weights.sd_between is None

    runs = {"a": (70.0, 72.0), "b": (74.0, 78.0), "c": (73.0,)}
    observations = [
        Observation("base", classifier, seed, value)
        for classifier, values in runs.items()
        for seed, value in enumerate(values)
    ]
    recipe = rows_of(analyse(observations, "base"))["base"]
    assert (recipe.unit, recipe.n, recipe.fine_tunings) == ("classifier", 3, 5)
    assert recipe.about == "about the recipe"
    assert recipe.mean == pytest.approx((71 + 76 + 73) / 3)  # not the mean of the five runs
    means = np.var([71, 76, 73], ddof=1)
    assert recipe.sd_within == pytest.approx(math.sqrt((2 * 1**2 + 2 * 2**2) / 2))
    # Of a run's variance around its classifier the means have kept (1/2 + 1/2 + 1) / 3.
    assert recipe.sd_run**2 == pytest.approx(means + recipe.sd_within**2 / 3)
    assert recipe.sd_between**2 == pytest.approx(means - 2 / 3 * recipe.sd_within**2)


def test_random_weights_are_drawn_anew_by_every_run():
    table = analyse(
        [
            *recipe_of("base", [77.0, 77.6, 78.1]),
            *recipe_of("scratch", [70.0, 70.5, 71.3], RANDOM),
        ],
        "base",
    )
    scratch = rows_of(table)["scratch"]
    assert (scratch.unit, scratch.n, scratch.classifiers) == ("run from random weights", 3, 0)
    assert (scratch.sd_between, scratch.sd_within) == (None, None)
    assert scratch.sd_run == scratch.sd == pytest.approx(np.std([70.0, 70.5, 71.3], ddof=1))
    # A run is its recipe's and its weights' at once: it shares a pool with classifiers.
    assert (table.method, table.notes) == ("Dunnett", ())


def test_spread_of_a_single_run_puts_back_what_averaging_took_out():
    rng = np.random.default_rng(3)
    classifiers = rng.normal(80, 0.6, size=400)
    observations = [
        Observation("base", str(i), seed, mean + rng.normal(0, 0.8))
        for i, mean in enumerate(classifiers)
        for seed in range(3)
    ]
    row = analyse(observations, "base").rows[0]
    assert row.sd_within == pytest.approx(0.8, rel=0.05)
    assert row.sd_between == pytest.approx(0.6, rel=0.1)
    assert row.sd == pytest.approx(math.sqrt(0.6**2 + 0.8**2 / 3), rel=0.1)
    assert row.sd_run == pytest.approx(1.0, rel=0.07)


# --- the comparison with the baseline


@pytest.mark.parametrize(
    ("example", "low", "high", "p"),
    [(FABRIC, FABRIC_LOW, FABRIC_HIGH, FABRIC_P), (BLOOD, BLOOD_LOW, BLOOD_HIGH, BLOOD_P)],
    ids=["fabric", "blood counts"],
)
def test_dunnetts_own_examples(example, low, high, p):
    control, samples = example
    result = compare(np.array(control, float), [np.array(sample, float) for sample in samples])
    assert result.method == "Dunnett"
    # R integrates by Monte Carlo: p is good to about .0003.
    assert [gain.low for gain in result.gains] == pytest.approx(low, abs=2e-3)
    assert [gain.high for gain in result.gains] == pytest.approx(high, abs=2e-3)
    assert [gain.p for gain in result.gains] == pytest.approx(p, abs=3e-4)
    assert result.gains[-1].verdict == ("gain" if p[-1] < 0.05 else "inconclusive")


@pytest.mark.parametrize(("df", "rows", "published"), TABLE_1964)
def test_dunnetts_published_critical_values(df, rows, published):
    n = df // (rows + 1) + 1
    assert (n - 1) * (rows + 1) == df
    assert critical_value(n, (n,) * rows, 0.05) == pytest.approx(published, abs=0.0051)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (5, 5, 5, 5, 5, 5, 5), (4, 2, 7, 3), (2, 20, 2)])
def test_against_scipys_dunnett(sizes):
    rng = np.random.default_rng(len(sizes))
    groups = [rng.normal(80 + i / 3, 0.5, n) for i, n in enumerate(sizes)]
    ours = compare(groups[0], groups[1:], spread_level=0)
    theirs = stats.dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(0))
    interval = theirs.confidence_interval()
    assert [gain.p for gain in ours.gains] == pytest.approx(theirs.pvalue, abs=3e-4)
    assert [gain.low for gain in ours.gains] == pytest.approx(interval.low, abs=3e-3)
    assert [gain.high for gain in ours.gains] == pytest.approx(interval.high, abs=3e-3)


def test_one_row_alone_is_the_t_test():
    base, row = noise(1, rows=2, n=6)
    gain = compare(base, [row], spread_level=0).gains[0]
    assert gain.p == pytest.approx(stats.ttest_ind(row, base).pvalue, abs=1e-9)
    interval = stats.ttest_ind(row, base).confidence_interval()
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=1e-6)


@pytest.mark.parametrize("n", [30, 119, 1000])
def test_unbalanced_designs_keep_their_precision(n):
    # Far more runs of one row than of the baseline: rho is near 1 and the integrand steep.
    t = np.array([1.0, 2.5])
    for value in t:
        found = adjusted_p(np.array([value]), 2, (n,))
        assert found == pytest.approx(2 * stats.t.sf(value, n), abs=2e-9)


def test_a_plainly_noisier_row_calls_for_welch_and_holm():
    base, *rows = noise(2, rows=4, n=6)
    rows = [rows[0] + 1.4, 80 + 8 * (rows[1] - 80), rows[2] - 2]
    result = compare(base, rows)
    assert result.method == "Welch-Holm"
    assert "clearly exceeds" in result.reason
    raw = [stats.ttest_ind(row, base, equal_var=False).pvalue for row in rows]
    first, second, third = np.argsort(raw)
    holm = {first: 3 * raw[first]}
    holm[second] = max(holm[first], 2 * raw[second])
    holm[third] = min(1, max(holm[second], raw[third]))
    assert [gain.p for gain in result.gains] == pytest.approx([holm[i] for i in range(3)])
    assert {gain.verdict for gain in result.gains} == {"gain", "inconclusive", "loss"}


@pytest.mark.parametrize("seed", range(8))
def test_holms_p_is_that_of_the_closed_test(seed):
    """A row differs where every set of rows that it is in holds a difference, by Bonferroni."""
    rng = np.random.default_rng(seed)
    base = rng.normal(80, 0.5, size=4)
    rows = [rng.normal(80.7, sd, size=n) for n, sd in ((9, 0.2), (3, 0.9), (6, 0.5), (4, 0.5))]
    found = compare(base, rows, kinds=range(len(rows) + 1)).gains
    tests = [stats.ttest_ind(row, base, equal_var=False) for row in rows]
    for i, gain in enumerate(found):
        others = [j for j in range(len(rows)) if j != i]
        sets = [(i, *more) for k in range(4) for more in itertools.combinations(others, k)]
        closed = max(min(1, len(s) * min(tests[j].pvalue for j in s)) for s in sets)
        assert gain.p == pytest.approx(closed)
        assert gain.df == pytest.approx(tests[i].df)
        assert gain.std_error == pytest.approx(gain.gain / tests[i].statistic)
        assert gain.sd**2 == pytest.approx((base.var(ddof=1) + rows[i].var(ddof=1)) / 2)


@pytest.mark.parametrize(("sign", "verdict"), [(1, "gain"), (-1, "loss")])
def test_bonferronis_interval_is_cut_at_zero_where_only_holm_tells_the_sign(sign, verdict):
    base = np.array([80.0, 80.4, 79.6, 80.2, 79.8])
    clear, close = base + sign * 5, base[::-1] + sign * 0.52
    result = compare(base, [clear, close], kinds=range(3))
    raw = stats.ttest_ind(close, base, equal_var=False)
    assert 0.025 < raw.pvalue < 0.05  # Bonferroni would not tell, Holm's last step does
    assert [gain.verdict for gain in result.gains] == [verdict, verdict]
    near, far = sorted((result.gains[1].low, result.gains[1].high), key=abs)
    bonferroni = raw.confidence_interval(0.975)
    reaches_over, end = sorted((bonferroni.low, bonferroni.high), key=abs)
    assert sign * reaches_over < 0
    assert near == 0.0
    assert far == pytest.approx(end)
    assert 0.0 not in (result.gains[0].low, result.gains[0].high)


def test_the_spread_test_is_cochrans():
    # ISO 5725-2, table 4: C for p = 6 laboratories of n = 3 is .616 at 5 %.
    others = (1 - 0.616) / 5
    assert spread_p([3] * 6, [0.616, *[others] * 5]) == pytest.approx(0.05, abs=5e-4)


def test_mixed_kinds_are_not_pooled_and_the_table_says_so():
    observations = observe({"base": [77.0, 77.5, 78.1]}) + recipe_of("recipe", [78.0, 78.4, 78.9])
    table = analyse(observations, "base")
    assert table.method == "Welch-Holm"
    assert "of different kinds" in table.reason
    assert "recipe: several classifiers" in table.notes[0]
    assert rows_of(table)["recipe"].p == pytest.approx(
        stats.ttest_ind([78.0, 78.4, 78.9], [77.0, 77.5, 78.1], equal_var=False).pvalue
    )


def test_a_baseline_of_fewer_units_than_its_rows_is_reported():
    values = {"base": [77.0, 77.5, 78.1], "a": [78.0, 78.4, 78.9, 78.2], "b": [77.9, 78.0, 78.6]}
    (note,) = analyse(observe(values), "base").notes
    assert "base has 3 units, other rows up to 4" in note
    assert analyse(observe({**values, "base": [77.0, 77.5, 78.1, 77.7]}), "base").notes == ()


def test_spreads_of_one_kind_are_pooled_beside_those_of_another():
    given = [77.0, 77.5, 78.1, 77.2]
    recipes = {"a": [78.0, 78.4, 78.9], "b": [77.9, 78.0, 78.6], "c": [77.0, 77.9]}
    observations = observe({"base": given})
    for name, values in recipes.items():
        observations += recipe_of(name, values)
    table = rows_of(analyse(observations, "base"))
    squares = sum(np.var(values) * len(values) for values in recipes.values())
    df = sum(len(values) - 1 for values in recipes.values())
    for name, values in recipes.items():
        one, other = squares / df / len(values), np.var(given, ddof=1) / len(given)
        error = math.sqrt(one + other)
        welchs = (one + other) ** 2 / (one**2 / df + other**2 / 3)
        assert table[name].gain_error == pytest.approx(error)
        assert table[name].gain_df == pytest.approx(welchs)
        half = stats.t.ppf(1 - 0.05 / 6, welchs) * error
        assert table[name].gain_high == pytest.approx(table[name].gain + half)


def test_one_of_a_kind_that_plainly_exceeds_is_not_pooled_with_it():
    rng = np.random.default_rng(7)
    base = rng.normal(80, 0.5, size=5)
    rows = [*(rng.normal(80, 0.1, size=(4, 5))), rng.normal(80, 9.0, size=5)]
    found = compare(base, rows, kinds=["given"] + ["recipe"] * 5).gains
    alone = compare(base, rows, kinds=range(6)).gains
    assert found == alone


def test_two_units_whose_spread_stands_for_itself_claim_next_to_nothing():
    base, row = np.array([80.0, 80.4, 79.6, 80.2, 79.8]), np.array([81.500, 81.501])
    (gain,) = compare(base, [row], kinds=range(2)).gains
    assert gain.df == 1
    assert gain.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("groups", "most"),
    [
        ([Group(10, kind="fine-tuning"), *[Group(2, 2.0)] * 6], 0.08),  # 34 % with none pooled
        ([Group(5, kind="fine-tuning"), Group(2, 3.0)], 0.02),  # 10 % by Satterthwaite alone
        ([Group(5)] * 7, 0.08),
    ],
)
def test_false_verdicts_are_few_whatever_the_kinds(groups, most):
    assert false_verdicts(groups, 400) < most


def test_the_spread_behind_a_gain_has_its_own_degrees_of_freedom():
    """Welch's of the error are those of the smaller row, whose error is the larger."""
    rng = np.random.default_rng(3)
    base, row = rng.normal(80, 0.5, size=20), rng.normal(80, 0.5, size=3)
    (gain,) = compare(base, [row], kinds=range(2)).gains
    one, other = base.var(ddof=1), row.var(ddof=1)
    assert gain.sd_df == pytest.approx((one + other) ** 2 / (one**2 / 19 + other**2 / 2))
    assert gain.sd_df > gain.df


def test_what_could_have_been_found_is_reported_where_scipys_distribution_has_no_number():
    """Two units a row and one row of another kind: a shift far above the critical value."""
    values = {"base": [74.62, 75.84], "a": [74.86, 75.79], "b": [74.78, 74.63], "c": [75.12, 75.52]}
    table = analyse(
        [
            Observation(row, row if row == "b" else f"{row}{i}", i if row == "b" else 0, value)
            for row, pair in values.items()
            for i, value in enumerate(pair)
        ],
        "base",
    )
    assert all(row.detectable > 0 for row in table.rows if row.verdict == "inconclusive")


@pytest.mark.parametrize(
    "design",
    [
        Design(baseline=3, row=3, family=(3,) * 6),
        Design(baseline=2, row=2, family=(2, 2, 2), share=0.02),
    ],
)
def test_power_rises_to_one_and_stays_there(design):
    effects = [power(effect, design) for effect in np.geomspace(0.1, 400, 60)]
    assert np.all(np.diff(effects) > -1e-6)
    assert effects[-1] == pytest.approx(1, abs=1e-3)


VALUES = st.floats(60, 90).map(lambda value: round(value, 2))
TABLES = st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=2, max_size=6).map(
    lambda rows: {f"row{i}": values for i, values in enumerate(rows)}
)


def spread_apart(table: dict[str, list[float]]) -> dict[str, list[float]]:
    """Nudge equal values apart, so that a property is not about the least spread."""
    return {row: [round(v, 1) + 0.03 * i**2 for i, v in enumerate(vs)] for row, vs in table.items()}


@settings(max_examples=40, deadline=None)
@given(TABLES)
def test_the_verdict_the_interval_and_p_agree(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = analyse(observe(table), "row0")
    for row in result.rows:
        if row.verdict is None:
            assert row.p is None
            assert row.gain_low is None
            continue
        assert row.gain_low <= row.gain <= row.gain_high
        assert 0 <= row.p <= 1
        decided = row.verdict != "inconclusive"
        assert decided == (row.gain_low >= 0 or row.gain_high <= 0)
        assert decided == (row.p < 0.05)
        assert (row.verdict == "gain") == (decided and row.gain > 0)
        assert (row.detectable is None) == decided


@settings(max_examples=25, deadline=None)
@given(TABLES.map(spread_apart), st.floats(-30, 30), st.floats(1, 10))
def test_gains_move_with_the_scale_and_not_with_the_level(table, shift, scale):
    before = rows_of(analyse(observe(table), "row0"))
    moved = {row: [shift + scale * value for value in vs] for row, vs in table.items()}
    after = rows_of(analyse(observe(moved), "row0"))
    for name, row in before.items():
        assert after[name].mean == pytest.approx(shift + scale * row.mean, abs=1e-6)
        assert after[name].verdict == row.verdict
        if row.verdict:
            assert after[name].p == pytest.approx(row.p, abs=1e-6)
            assert after[name].gain_low == pytest.approx(scale * row.gain_low, abs=1e-5)
            assert after[name].gain_high == pytest.approx(scale * row.gain_high, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(TABLES.map(spread_apart), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_records_changes_nothing(table, random):
    observations = observe(table)
    shuffled = random.sample(observations, len(observations))
    before, after = (rows_of(analyse(seen, "row0")) for seen in (observations, shuffled))
    for name, row in before.items():
        for one, other in zip(
            dataclasses.astuple(row), dataclasses.astuple(after[name]), strict=True
        ):
            assert other == (pytest.approx(one, abs=1e-7) if isinstance(one, float) else one)


# --- bad input


def test_values_that_are_not_finite_are_left_out_and_named():
    observations = [
        *observe({"base": [77.0, 77.5], "row": [78.0, 78.4]}),
        Observation("row", "hub", 2, math.nan),
        Observation("gone", "hub", 0, math.inf),
    ]
    table = analyse(observations, "base")
    assert [row.row for row in table.rows] == ["base", "row"]
    assert rows_of(table)["row"].n == 2
    assert table.left_out == (
        "row, classifier hub, seed 2: its metric is nan",
        "gone, classifier hub, seed 0: its metric is inf",
    )


def test_a_fine_tuning_given_twice_is_refused_by_name():
    observations = observe({"base": [77.0, 77.5]})
    with pytest.raises(UserError, match="base, classifier hub, seed 1 appears twice"):
        analyse([*observations, observations[1]], "base")


@pytest.mark.parametrize("observations", [[], [Observation("base", "hub", 0, math.nan)]])
def test_nothing_to_analyse_is_refused(observations):
    with pytest.raises(UserError, match="there is none"):
        analyse(observations, "base")


def test_other_seeds_than_the_baselines_are_reported():
    observations = observe({"base": [77.0, 77.5, 78.0], "same": [78.0, 78.1, 78.5]})
    observations += [Observation("other", "hub", seed, 78 + seed / 9) for seed in (1, 2, 3, 7)]
    rows = rows_of(analyse(observations, "base"))
    assert rows["same"].notes == ()
    assert rows["other"].notes == ("Seeds 1-3, 7; the baseline has 0-2.",)
    assert rows["other"].verdict is not None
    two = analyse(observe({"base": [77.0, 77.5], "row": [78.0, 78.1, 78.5]}), "base")
    assert rows_of(two)["row"].notes == ("Seeds 0-2; the baseline has 0-1.",)


@pytest.mark.parametrize(
    ("base", "reason"),
    [([77.0], "has only one fine-tuning"), ([77.0] * 3, "gave the same figure")],
)
def test_a_baseline_without_spread_gives_no_verdicts(base, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = analyse(observe({"base": base, "row": [78.0, 78.4, 78.8]}), "base")
    assert reason in table.reason
    assert (table.method, table.family) == (None, ())
    assert rows_of(table)["row"].gain == pytest.approx(1.4)
    assert rows_of(table)["row"].verdict is None


def test_a_missing_baseline_leaves_the_means_standing():
    table = analyse(observe({"row": [78.0, 78.4]}), "base")
    assert "the baseline base has no finished fine-tuning" in table.reason
    assert (table.rows[0].mean, table.rows[0].gain) == (pytest.approx(78.2), None)


@pytest.mark.parametrize("rounding", [0, 1e-7, 0.004])
def test_equal_figures_are_not_taken_for_certainty(rounding):
    """Half of the last printed digit: a smaller spread is rounding, not a measurement."""
    equal = [90.1, 90.1 + rounding, 90.1 - rounding]
    table = analyse(observe({"base": [77, 78, 79], "stuck": equal, "row": [78, 79, 81]}), "base")
    stuck = rows_of(table)["stuck"]
    assert (stuck.ci_low, stuck.verdict) == (None, None)
    assert table.family == ("row",)
    assert "all 3 fine-tunings gave the same figure" in table.left_out[0]


# --- what "inconclusive" carries


def test_interval_of_a_standard_deviation_by_hand():
    low, high = sd_interval(2.0, 10)  # chi-square of 10: 3.247 and 20.483
    assert (low, high) == pytest.approx(
        (2 * math.sqrt(10 / 20.483), 2 * math.sqrt(10 / 3.247)), rel=1e-4
    )


def test_power_of_dunnetts_comparison_alone():
    # Independent figures (shared by simulation): sd .5, six rows, gain 1.0.
    for seeds, dunnett, welch in ((5, 0.67, 0.38), (3, 0.36, 0.08)):
        by_welch = power(2.0, Design(baseline=seeds, row=seeds, family=(seeds,) * 6, share=0.5))
        both = power(2.0, Design(baseline=seeds, row=seeds, family=(seeds,) * 6))
        assert by_welch == pytest.approx(welch, abs=0.01)
        assert (both - 0.05 * by_welch) / 0.95 == pytest.approx(dunnett, abs=0.01)


def test_power_by_welch_agrees_with_simulation_also_where_sizes_and_spreads_differ():
    rng = np.random.default_rng(0)
    draws, n_row, n_base, share, effect = 40_000, 4, 8, 0.9, 2.0
    row = rng.normal(effect, math.sqrt(2 * share), (draws, n_row))
    base = rng.normal(0, math.sqrt(2 * (1 - share)), (draws, n_base))
    p = stats.ttest_ind(row, base, axis=1, equal_var=False, alternative="greater").pvalue
    found = (p < 0.05 / 12).mean()
    calculated = power(effect, Design(baseline=n_base, row=n_row, family=(n_row,) * 6, share=share))
    assert found == pytest.approx(calculated, abs=4 * math.sqrt(0.25 / draws))


def test_smallest_gain_and_seeds_needed_invert_power():
    design = Design(baseline=5, row=5, family=(5,) * 6)
    assert power(smallest_effect(design), design) == pytest.approx(0.8)
    needed = units_needed(2.0, 6)
    assert power(2.0, Design(baseline=needed, row=needed, family=(needed,) * 6)) >= 0.8
    fewer = needed - 1
    assert power(2.0, Design(baseline=fewer, row=fewer, family=(fewer,) * 6)) < 0.8
    assert units_needed(50.0, 6) == 2
    many = units_needed(0.14, 1)
    assert 512 < many <= 1000
    assert power(0.14, Design(baseline=many, row=many, family=(many,))) >= 0.8
    assert power(0.14, Design(baseline=many - 1, row=many - 1, family=(many - 1,))) < 0.8
    assert power(0.12, Design(baseline=1000, row=1000, family=(1000,))) < 0.8
    assert units_needed(0.12, 1) is None
    assert units_needed(0.001, 6) is None
    assert units_needed(0.0, 6) is None


@pytest.mark.parametrize("path", ["results/notes.md", "configs/suites/animals.toml"])
def test_what_three_classifiers_instead_of_five_cost_is_the_computed_figure(path):
    few = smallest_effect(
        Design(baseline=3, row=3, family=(3, 2, 3))
    )  # two of the shuffled weights
    many = smallest_effect(Design(baseline=5, row=5, family=(5, 5, 5)))
    text = " ".join((ROOT / path).read_text(encoding="utf-8").replace("\n# ", " ").split())
    (figure,) = re.findall(r"Three classifiers a row.*? is ([0-9.]+) times as large", text)
    assert float(figure) == round(few / many, 2)


def test_the_notes_tell_the_p_values_of_the_two_rows_alone_that_the_records_have():
    text = " ".join((ROOT / "results" / "notes.md").read_text(encoding="utf-8").split())
    match = re.search(
        r"Student's p is (\S+) in detection and (\S+) in segmentation; "
        r"by Welch's test, for unequal spreads, (\S+) and (\S+)\.",
        text,
    )
    found = []
    for equal in (True, False):
        for task in ("detection", "segmentation"):
            units = []
            for row in ("resnet18_baseline", "resnet18d_tricks"):
                of_classifier = defaultdict(list)
                for path in (ROOT / "results" / "records").glob(f"{task}_quick_{row}_seed*.json"):
                    record = json.loads(path.read_text(encoding="utf-8"))
                    value = record["headline"]["value"]
                    of_classifier[record["cell"]["classifier"]].append(value)
                units.append([sum(values) / len(values) for values in of_classifier.values()])
            found.append(stats.ttest_ind(*units, equal_var=equal).pvalue)
    assert match is not None
    assert [float(figure) for figure in match.groups()] == [round(p, 3) for p in found]


def test_cannot_tell_says_what_would_have_been_found_and_what_a_gain_costs():
    base, row = noise(4, rows=2)
    result = analyse(observe({"base": list(base), "row": list(row)}), "base", targets={"row": -0.5})
    found = rows_of(result)["row"]
    assert found.verdict == "inconclusive"
    assert found.detectable_low < found.detectable < found.detectable_high
    assert found.target_gain == -0.5
    assert 2 <= found.needed_low < found.needed_high
    # At the upper end of the spread the larger number is just enough.
    low, high = sd_interval(found.gain_sd, found.gain_sd_df)
    assert found.needed_low == units_needed(0.5 / low, 1)
    assert found.needed_high == units_needed(0.5 / high, 1)
    unasked = rows_of(analyse(observe({"base": list(base), "row": list(row)}), "base"))["row"]
    assert unasked.target_gain == 1.0
    assert unasked.needed_high == units_needed(1.0 / high, 1)


def test_by_welch_it_counts_whose_spread_is_whose():
    base, row = [79.7, 80.3, 80.0, 79.5, 80.5, 80.1], [80.2, 80.3, 80.2]
    table = analyse(observe({"base": base}) + recipe_of("row", row), "base")
    found = rows_of(table)["row"]
    assert (table.method, found.verdict) == ("Welch-Holm", "inconclusive")
    of_row, of_base = np.var(row, ddof=1), np.var(base, ddof=1)
    share = of_row / (of_row + of_base)
    sd = math.sqrt((of_row + of_base) / 2)
    assert found.detectable == pytest.approx(
        sd * smallest_effect(Design(baseline=6, row=3, family=(3,), share=share))
    )
    low, high = sd_interval(sd, found.gain_sd_df)
    assert found.needed_low == units_needed(1 / low, 1, share)
    assert found.needed_high == units_needed(1 / high, 1, share)
    assert found.needed_high != units_needed(1 / high, 1)


# --- agreement with the paper


def test_prediction_interval_by_hand():
    base, row = [80.0, 81.0, 82.0], [81.0, 82.0, 83.0]
    rows = rows_of(analyse(observe({"base": base, "row": row}), "base"))
    # Pooled sd 1 with 4 degrees of freedom; variance 1/3 + 1/3 + 1 + 1; t(4) is 2.776445.
    half = 2.776445 * math.sqrt(8 / 3)
    result = agreement(rows["row"], rows["base"], 1.0)
    assert (result.low, result.high) == pytest.approx((1 - half, 1 + half), abs=1e-5)
    assert result.verdict == "agrees"
    assert "standard deviation of 1.00 points" in result.assumption
    assert agreement(rows["row"], rows["base"], 1 - 1.01 * half).verdict == "disagrees"


def test_a_single_run_of_the_papers_has_the_variance_that_our_averages_lost():
    pairs = {"a": (79.0, 81.0), "b": (80.0, 82.0), "c": (81.0, 83.0)}
    twice = [Observation("base", c, i, v) for c, two in pairs.items() for i, v in enumerate(two)]
    rows = rows_of(analyse([*twice, *recipe_of("row", [81.0, 82.0, 83.0])], "base"))
    # Means 80, 81, 82 of pairs with variance 2: a run of the baseline varies by 1 + 2 / 2.
    half = 2.776445 * math.sqrt(1 / 3 + 1 / 3 + 1 + 2)
    result = agreement(rows["row"], rows["base"], 1.0)
    assert (result.low, result.high) == pytest.approx((1 - half, 1 + half), abs=1e-5)
    assert "given weights" not in result.assumption


@pytest.mark.parametrize("weights", ["base", "row"])
def test_fine_tunings_of_given_weights_lack_what_another_training_would_add(weights):
    (recipe,) = {"base", "row"} - {weights}
    observations = observe({weights: [80.0, 81.0, 82.0]}) + recipe_of(recipe, [81.0, 82.0, 83.5])
    rows = rows_of(analyse(observations, "base"))
    assert "may be too narrow" in agreement(rows["row"], rows["base"], 1.0).assumption


def test_without_an_interval_of_our_own_the_paper_is_not_judged():
    rows = rows_of(analyse(observe({"base": [80.0, 81.0], "row": [82.0]}), "base"))
    result = agreement(rows["row"], rows["base"], 1.0)
    assert (result.low, result.high, result.verdict) == (None, None, None)


@pytest.mark.parametrize("fine_tunings", [1, 3])
def test_the_prediction_interval_holds_a_difference_of_two_new_runs(fine_tunings):
    rng = np.random.default_rng(fine_tunings)
    between, within, draws, hits = 0.4, 0.6, 300, 0
    for _ in range(draws):
        observations = [
            Observation(row, str(c), seed, mean + rng.normal(0, within))
            for row in ("base", "row")
            for c, mean in enumerate(rng.normal(80, between, size=5))
            for seed in range(fine_tunings)
        ]
        rows = rows_of(analyse(observations, "base"))
        paper = rng.normal(0, math.hypot(between, within) * math.sqrt(2))
        hits += agreement(rows["row"], rows["base"], paper).verdict == "agrees"
    assert hits / draws == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / draws))


# --- correlation


@pytest.mark.parametrize(
    ("metric", "pearson", "spearman"),
    [("mAP", 0.97, 1.00), ("mIoU", 0.38, -0.04), ("pixAcc", 0.34, 0.07)],
)
def test_correlation_of_the_papers_seven_points(metric, pearson, spearman):
    pairs = list(zip(TOP1, PAPER_POINTS[metric], strict=True))
    result = correlate({str(i): pair for i, pair in enumerate(pairs)})
    assert (round(result.pearson, 2), round(result.spearman, 2)) == (pearson, spearman)
    assert result.pearson == pytest.approx(stats.pearsonr(*zip(*pairs, strict=True)).statistic)
    assert result.spearman == pytest.approx(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    assert result.pearson_low <= result.pearson <= result.pearson_high
    assert result.in_order == (metric == "mAP")
    again = correlate({str(i): pair for i, pair in reversed(list(enumerate(pairs)))})
    assert again == result


def test_correlation_with_ties_ranks_them_as_scipy_does():
    x, y = [1, 2, 2, 3, 4, 4], [2.0, 1.0, 1.0, 5.0, 3.0, 9.0]
    result = correlate({str(i): pair for i, pair in enumerate(zip(x, y, strict=True))})
    assert result.spearman == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_interval_of_a_correlation_is_scipys_percentile_bootstrap():
    rng = np.random.default_rng(0)
    x = rng.normal(78, 1, size=12)
    y = x + rng.normal(0, 1.5, size=12)
    found = correlate({str(i): pair for i, pair in enumerate(zip(x, y, strict=True))})
    for name, statistic in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        drawn = stats.bootstrap(
            (x, y),
            lambda a, b, statistic=statistic: statistic(a, b).statistic,
            paired=True,
            vectorized=False,
            n_resamples=2000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        ends = getattr(found, f"{name}_low"), getattr(found, f"{name}_high")
        assert ends == pytest.approx((drawn.low, drawn.high), abs=0.04)


def test_draws_of_rows_with_one_figure_have_no_correlation():
    points = {str(i): (70.0 + i, 80.0 + (i == 4)) for i in range(5)}
    for turned in (points, {row: (y, x) for row, (x, y) in points.items()}):
        result = correlate(turned)
        assert -1 <= result.pearson_low <= result.pearson <= result.pearson_high <= 1
        assert -1 <= result.spearman_low <= result.spearman <= result.spearman_high <= 1


def test_correlation_is_refused_below_five_rows_or_without_variation():
    points = {str(i): (70.0 + i, 80.0 + i % 3) for i in range(5)}
    assert correlate(points).reason is None
    points["4"] = (74.0, math.nan)
    refused = correlate(points)
    assert (refused.n, refused.pearson) == (4, None)
    assert "at least 5" in refused.reason
    assert refused.left_out == ("4: its top-1 or its metric is not a number",)
    assert "equal in all rows" in correlate({str(i): (70.0, i) for i in range(6)}).reason


# --- by simulation


def within(share: float, expected: float, draws: int) -> bool:
    """Whether a simulated share is as expected, to four standard errors."""
    return abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / draws)


def test_simulated_tables_do_as_stated():
    draws, seeds = 600, 5
    counts = simulate(SCENARIOS["equal spread"], seeds, draws)
    assert within(sum(counts.mean_covered) / (7 * draws), 0.95, 7 * draws)
    assert within(counts.share(counts.all_covered), 0.95, draws)
    assert within(counts.share(counts.false_verdict), 0.05, draws)
    assert within(counts.share(counts.welch), 0.05, draws)
    calculated = power(1.0 / SD, Design(baseline=seeds, row=seeds, family=(seeds,) * 6))
    assert within(counts.share(counts.found), calculated, draws)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_ten_thousand_tables_do_as_stated(seeds):
    draws = 10_000
    equal = simulate(SCENARIOS["equal spread"], seeds, draws)
    noisy = simulate(SCENARIOS["one row, three times"], seeds, draws)
    for counts in (equal, noisy):
        assert all(abs(covered / draws - 0.95) <= 0.01 for covered in counts.mean_covered)
    assert equal.share(equal.all_covered) >= 0.94
    assert equal.share(equal.false_verdict) <= 0.06
    calculated = power(1.0 / SD, Design(baseline=seeds, row=seeds, family=(seeds,) * 6))
    assert equal.share(equal.found) == pytest.approx(calculated, abs=0.015)
    # Three seeds cannot show that one row is noisier; docs/statistics.md prints what that costs.
    assert noisy.share(noisy.false_verdict) <= {3: 0.11, 5: 0.075, 10: 0.06}[seeds]


@pytest.mark.slow
def test_the_seeds_that_a_gain_needs_by_simulation():
    draws, needed = 10_000, units_needed(1.0 / SD, 6)
    enough, fewer = (
        simulate(SCENARIOS["equal spread"], seeds, draws) for seeds in (needed, needed - 1)
    )
    assert enough.share(enough.found) >= 0.79
    assert fewer.share(fewer.found) < 0.8


def test_the_simulation_judges_as_the_tables_do():
    for seed, spread in itertools.product(range(5), (1, 6)):
        base, *rows = noise(seed)
        rows[3] = 80 + spread * (rows[3] - 80)
        decided = compare(base, rows)
        named = {f"row{i}": list(values) for i, values in enumerate(rows)}
        table = analyse(observe({"base": list(base), **named}), "base")
        assert table.method == decided.method
        for row, gain in zip(table.rows[1:], decided.gains, strict=True):
            assert (row.gain, row.gain_low, row.gain_high) == (gain.gain, gain.low, gain.high)
            assert (row.p, row.verdict) == (gain.p, gain.verdict)


def test_a_a_over_all_splits_of_ten_cells():
    cells = np.random.default_rng(7).normal(80, 0.5, size=10)
    false, splits = false_verdicts_over_splits(cells.tolist())
    assert splits == math.comb(10, 5) // 2
    # Independently: t tests, unless an F test of the two spreads at 5 % calls for Welch's.
    expected = 0
    for chosen in itertools.combinations(range(1, 10), 4):
        one = cells[[0, *chosen]]
        other = np.delete(cells, [0, *chosen])
        ratio = max(one.var(ddof=1) / other.var(ddof=1), other.var(ddof=1) / one.var(ddof=1))
        equal = 2 * stats.f.sf(ratio, 4, 4) >= 0.05
        expected += stats.ttest_ind(one, other, equal_var=equal).pvalue < 0.05
    assert false == expected


def test_a_a_gives_a_false_verdict_as_often_as_stated():
    rng = np.random.default_rng(0)
    counts = [false_verdicts_over_splits(rng.normal(80, 0.5, size=10).tolist()) for _ in range(25)]
    share = sum(false for false, _ in counts) / sum(splits for _, splits in counts)
    assert share == pytest.approx(0.05, abs=0.012)  # single rows differ by some .015


# --- speed


def test_importing_stays_light():
    code = (
        "import sys, transfer.stats.statistics, transfer.stats.agreement, "
        "transfer.stats.correlation, transfer.stats.bootstrap; "
        "sys.exit(any(name in sys.modules for name in ('scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_twice_the_rows_are_at_most_three_times_the_work():
    """Of a table: the critical value takes a little longer with each row."""
    rng = np.random.default_rng(0)
    seconds = []
    for count in (5, 10):
        rows = {f"row{i}": list(rng.normal(78 + i / 5, 0.5, size=5)) for i in range(count)}
        analyse(observe(rows), "row0", targets={})  # what is computed once is not counted
        started = time.process_time()
        for table in range(50):
            analyse(observe(rows), "row0", targets=dict.fromkeys(rows, table / 100))
        seconds.append(time.process_time() - started)
    assert seconds[1] <= 3 * seconds[0]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.0, 7.98), "above 0 … 7.98"),
        ((-7.98, 0.0), "-7.98 … below 0"),
        ((-0.001, 6.72), "-0.00 … 6.72"),
        ((0.0, 0.0), "0.00 … 0.00"),
        ((None, None), "–"),
    ],
)
def test_an_interval_that_is_cut_at_zero_says_so(ends, text):
    assert wording.gain_interval(*ends) == text
