import dataclasses
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
from transfer.records.comparable import RANDOM
from transfer.stats import components, looks
from transfer.stats.agreement import agreement
from transfer.stats.comparison import compare, verdict
from transfer.stats.correlation import correlate
from transfer.stats.critical import adjusted_p, critical_value, power, standard_errors
from transfer.stats.power import MAX_UNITS, sd_interval, smallest_effect, units_needed
from transfer.stats.spreads import Design
from transfer.stats.statistics import Observation, TableResult, analyse
from transfer.stats.total import best_fine_tunings, total_interval

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
    assert table.method == "Dunnett"


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
    # Both draw random numbers.
    assert [gain.low for gain in result] == pytest.approx(low, abs=3e-3)
    assert [gain.high for gain in result] == pytest.approx(high, abs=3e-3)
    assert [gain.p for gain in result] == pytest.approx(p, abs=4e-4)
    assert result[-1].verdict == ("gain" if p[-1] < 0.05 else "inconclusive")


@pytest.mark.parametrize(("df", "rows", "published"), TABLE_1964)
def test_dunnetts_published_critical_values(df, rows, published):
    n = df // (rows + 1) + 1
    assert (n - 1) * (rows + 1) == df
    found = critical_value(Design((n,) * (rows + 1)))
    # From five units on, the spread is not only pooled, and standard errors are larger.
    least = published - (0.01 if n < 5 else 0.12)
    assert least <= found <= published + 0.01


@pytest.mark.parametrize("sizes", [(3, 3, 3), (4, 4, 4, 4, 4, 4, 4), (4, 2, 7, 3), (3, 20, 3)])
def test_against_scipys_dunnett(sizes):
    rng = np.random.default_rng(len(sizes))
    groups = [rng.normal(80 + i / 3, 0.5, n) for i, n in enumerate(sizes)]
    ours = compare(groups[0], groups[1:])
    theirs = stats.dunnett(*groups[1:], control=groups[0], random_state=np.random.default_rng(0))
    interval = theirs.confidence_interval()
    assert [gain.p for gain in ours] == pytest.approx(theirs.pvalue, abs=4e-3)
    assert [gain.low for gain in ours] == pytest.approx(interval.low, abs=2e-2)
    assert [gain.high for gain in ours] == pytest.approx(interval.high, abs=2e-2)


def test_one_row_alone_is_the_t_test():
    base, row = noise(1, rows=2, n=4)
    (gain,) = compare(base, [row])
    assert gain.p == pytest.approx(stats.ttest_ind(row, base).pvalue, abs=4e-3)
    interval = stats.ttest_ind(row, base).confidence_interval()
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=1e-2)
    base, row = noise(1, rows=2, n=6)
    (gain,) = compare(base, [row], blocked=True)
    paired = stats.ttest_rel(row, base)
    assert gain.p == pytest.approx(paired.pvalue, abs=4e-3)
    interval = paired.confidence_interval()
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high), abs=1e-2)


def test_mixed_kinds_are_not_pooled_and_the_table_says_so():
    observations = observe({"base": [77.0, 77.5, 78.1]}) + recipe_of("recipe", [78.0, 78.4, 78.9])
    table = analyse(observations, "base")
    assert table.method == "Welch-Bonferroni"
    assert "classifiers in some rows" in table.reason
    assert "recipe: several classifiers" in table.notes[0]
    assert rows_of(table)["recipe"].p == pytest.approx(
        stats.ttest_ind([78.0, 78.4, 78.9], [77.0, 77.5, 78.1], equal_var=False).pvalue
    )


def test_a_baseline_of_fewer_units_than_its_rows_is_reported():
    def observe(table):  # without blocks
        return [
            Observation(row, "hub", seed + 10 * place, value)
            for place, (row, values) in enumerate(table.items())
            for seed, value in enumerate(values)
        ]

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


VALUES = st.floats(60, 90).map(lambda value: round(value, 2))
TABLES = st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=2, max_size=6).map(
    lambda rows: {f"row{i}": values for i, values in enumerate(rows)}
)


def spread_apart(table: dict[str, list[float]]) -> dict[str, list[float]]:
    """Nudge equal values apart, so that a property is not about the least spread."""
    return {row: [round(v, 1) + 0.03 * i**2 for i, v in enumerate(vs)] for row, vs in table.items()}


@settings(max_examples=15, deadline=None)
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


@settings(max_examples=10, deadline=None)
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


@settings(max_examples=8, deadline=None)
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
    assert rows["other"].notes == ("fine-tuned with seeds 1-3, 7, the baseline with seeds 0-2.",)
    assert rows["other"].verdict is not None
    two = analyse(observe({"base": [77.0, 77.5], "row": [78.0, 78.1, 78.5]}), "base")
    assert rows_of(two)["row"].notes == ("fine-tuned with seeds 0-2, the baseline with seeds 0-1.",)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ([77.0], "has only one fine-tuning"),
        ([77.0] * 3, "in the baseline base, all 3 fine-tunings gave the same figure"),
    ],
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


@pytest.mark.parametrize("path", ["results/notes.md", "configs/suites/animals.toml"])
def test_what_three_classifiers_instead_of_five_cost_is_the_computed_figure(path):
    ratio = smallest_effect(Design((3, 3))) / smallest_effect(Design((5, 5)))
    text = " ".join((ROOT / path).read_text(encoding="utf-8").replace("\n# ", " ").split())
    (figure,) = re.findall(r"Three classifiers a row.*? is ([0-9.]+) times as large", text)
    assert float(figure) == round(ratio, 2)


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
    result = analyse(observe({"base": list(base), "row": list(row)}), "base", targets={"row": -0.9})
    found = rows_of(result)["row"]
    assert found.verdict == "inconclusive"
    assert found.detectable_low < found.detectable < found.detectable_high
    assert found.target_gain == -0.9
    assert 2 <= found.needed_low < found.needed_high
    # At the upper end of the spread the larger number is just enough.
    low, high = sd_interval(found.gain_sd, found.gain_df)
    assert found.needed_low == units_needed(0.9 / low, 1, blocked=True)
    assert found.needed_high == units_needed(0.9 / high, 1, blocked=True)
    unasked = rows_of(analyse(observe({"base": list(base), "row": list(row)}), "base"))["row"]
    assert unasked.target_gain == 1.0
    assert unasked.needed_high == units_needed(1.0 / high, 1, blocked=True)


# --- one procedure, with and without blocks


def hand_worked(table):
    """Two-way analysis of variance, written out: residual mean square and its df."""
    rows, blocks = table.shape
    rest = 0.0
    for i in range(rows):
        for j in range(blocks):
            expected = table[i].mean() + table[:, j].mean() - table.mean()
            rest += (table[i, j] - expected) ** 2
    df = (rows - 1) * (blocks - 1)
    return rest / df, df


@pytest.mark.parametrize("n", [3, 4])
def test_a_blocked_gain_is_that_of_a_two_way_analysis_of_variance(n):
    table = np.random.default_rng(n).normal(80, 1, size=(4, n)) + 5 * np.arange(n)
    mean_square, df = hand_worked(table)
    gains = compare(table[0], list(table[1:]), blocked=True)
    for gain, row in zip(gains, table[1:], strict=True):
        assert gain.gain == pytest.approx(np.mean(row - table[0]))
        assert gain.std_error == pytest.approx(math.sqrt(2 * mean_square / n))
        assert (gain.df, gain.sd) == (df, pytest.approx(math.sqrt(mean_square)))
    # Dunnett's critical value for 3 rows and 6 or 9 degrees of freedom (Dunnett 1964: 2.88 at 8).
    critical = (gains[0].high - gains[0].gain) / gains[0].std_error
    assert critical == pytest.approx({6: 3.10, 9: 2.81}[df], abs=0.03)


def test_blocks_are_the_seeds_that_all_rows_share():
    shift = [0.0, 3.0, -4.0, 8.0]
    rows = {
        "base": [70.0, 70.3, 69.9, 70.1],
        "a": [71.0, 71.2, 71.1, 70.8],
        "b": [70.1, 69.8, 70.3, 70.2],
    }
    moved = {row: [v + s for v, s in zip(vs, shift, strict=True)] for row, vs in rows.items()}
    table, plain = (analyse(observe(values), "base") for values in (moved, rows))
    assert table.method == "blocked Dunnett"
    assert rows_of(table)["a"].verdict == "gain"
    for name in ("a", "b"):
        assert rows_of(table)[name].gain_low == pytest.approx(rows_of(plain)[name].gain_low)
    assert "assume that all rows have the same spread" in table.reason
    seed, rest = table.components
    assert seed.name.startswith("seed")
    assert seed.low < seed.sd < seed.high
    assert seed.sd > 3 > rest.high


def test_only_complete_blocks_enter_and_a_note_tells_what_is_left_out():
    values = {"base": [70, 71.2, 72, 73.1], "a": [71.3, 72, 73.4, 74], "b": [70, 71.9, 72.2, 75]}
    observations = [one for one in observe(values) if (one.row, one.seed) != ("b", 3)]
    table = analyse(observations, "base")
    three = analyse(observe({row: vs[:3] for row, vs in values.items()}), "base")
    for name in ("a", "b"):
        assert rows_of(table)[name].gain_low == rows_of(three)[name].gain_low
    assert [note for note in table.notes if note.startswith("base: 1 of 4 units")]
    assert rows_of(table)["a"].mean == pytest.approx(np.mean(values["a"]))


@pytest.mark.parametrize(
    ("rows", "n", "method"),
    [(1, 4, "Dunnett"), (1, 5, "blocked Dunnett"), (2, 2, "blocked Dunnett")],
)
def test_the_design_decides_whether_there_are_blocks(rows, n, method):
    table = {f"r{i}": list(values) for i, values in enumerate(noise(0, rows + 1, n))}
    assert analyse(observe(table), "r0").method == method


def test_rows_of_other_seeds_are_compared_without_blocks():
    observations = observe({"base": [70, 70.5, 71], "a": [71, 71.7, 71.3]})
    observations += [Observation("b", "hub", seed, 70 + seed / 9) for seed in (5, 6, 7)]
    assert analyse(observations, "base").method == "Dunnett"


def test_classifiers_that_share_a_seed_are_not_independent_and_that_is_said():
    shared = [
        Observation(row, f"{row}{i}", 0, 70 + i + shift / 3)
        for shift, row in enumerate(("base", "a", "b"))
        for i in range(3)
    ]
    shared[1] = dataclasses.replace(shared[1], value=71.7)
    table = analyse(shared, "base")
    assert table.method == "Dunnett"
    assert any("not independent" in note for note in table.notes)
    own = [dataclasses.replace(one, seed=int(one.classifier[-1])) for one in shared]
    table = analyse(own, "base")
    assert table.method == "blocked Dunnett"
    assert not any("not independent" in note for note in table.notes)


def test_rows_that_differ_by_one_figure_in_every_block_get_no_verdict():
    table = analyse(observe({"base": [70, 71, 73], "a": [71, 72, 74], "b": [69, 70, 72]}), "base")
    assert [row.verdict for row in table.rows] == [None, None, None]
    assert "the same figure in every block" in table.notes[0]


def test_controls_are_compared_alone_and_change_nothing_else():
    values = {f"r{i}": list(v) for i, v in enumerate(noise(3, 3, 4))}
    control = [60.0, 66.0, 63.0, 58.0]
    alone = analyse(observe(values), "r0")
    beside = analyse(observe({**values, "scratch": control}), "r0", controls={"scratch"})
    assert beside.family == alone.family == ("r1", "r2")
    assert rows_of(beside)["r1"] == rows_of(alone)["r1"]
    pair = analyse(observe({"r0": values["r0"], "scratch": control}), "r0", controls={"scratch"})
    for table in (beside, pair):
        scratch = rows_of(table)["scratch"]
        interval = stats.ttest_ind(control, values["r0"]).confidence_interval()
        assert scratch.control
        assert scratch.gain_low == pytest.approx(interval.low, abs=0.05)


def judged(units, blocked):
    """Shares of tables with a false verdict, by the vectorised statistics."""
    gains, errors = looks.statistics(units, blocked)
    count = units.shape[2]
    critical = critical_value(Design((count,) * units.shape[1], blocked))
    return (np.abs(gains) > critical * errors).any(axis=1), critical * errors


@pytest.mark.parametrize("blocked", [False, True])
def test_the_vectorised_statistics_are_those_of_the_tables(blocked):
    rng = np.random.default_rng(4)
    for n in (3, 5, 8):
        units = rng.normal(80, 1, size=(6, 4, n))
        units[3:, 0] = 80 + 5 * (units[3:, 0] - 80)
        gains, errors = looks.statistics(units, blocked)
        for table, gain, error in zip(units, gains, errors, strict=True):
            one = compare(table[0], list(table[1:]), blocked=blocked)
            assert [g.gain for g in one] == pytest.approx(gain)
            assert [g.std_error for g in one] == pytest.approx(error)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("blocked", [False, True])
def test_the_level_holds_also_with_one_noisy_row(n, blocked):
    rng = np.random.default_rng(n)
    tables = 20_000
    equal = rng.standard_normal((tables, 7, n)) + 3 * blocked * rng.standard_normal((tables, 1, n))
    false, _ = judged(equal, blocked)
    assert false.mean() == pytest.approx(0.05, abs=0.005)
    for place in (0, 3):
        noisy = rng.standard_normal((tables, 7, n))
        noisy[:, place] *= 3
        if n >= 5:
            assert judged(noisy, blocked)[0].mean() <= 0.075


def test_the_drawn_covariances_are_those_of_blocks():
    design = Design((4,) * 5, blocked=True)
    drawn = standard_errors(design, 40_000)[:, 0]
    _, of_units = looks.statistics(np.random.default_rng(1).standard_normal((40_000, 5, 4)), True)
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    assert np.quantile(drawn, quantiles) == pytest.approx(
        np.quantile(of_units[:, 0], quantiles), abs=0.01
    )


def test_power_agrees_with_simulated_tables_and_rises_to_one():
    for design in (Design((5,) * 4, blocked=True), Design((3, 6, 4))):
        units = [np.random.default_rng(i).standard_normal((20_000, n)) for i, n in
                 enumerate(design.sizes)]  # fmt: skip
        units[1] = units[1] + 2.0
        found = np.mean([
            compare(*_split(units, i), blocked=design.blocked)[0].verdict == "gain"
            for i in range(600)
        ])  # fmt: skip
        assert found == pytest.approx(power(2.0, design, 1), abs=4 * math.sqrt(0.25 / 600))
        effects = [power(effect, design) for effect in np.geomspace(0.1, 400, 30)]
        assert np.all(np.diff(effects) >= 0)
        assert effects[-1] == pytest.approx(1)


def _split(units, i):
    first, *others = [group[i] for group in units]
    return first, others


def test_smallest_gain_and_seeds_needed_invert_power():
    design = Design((5,) * 7, blocked=True)
    assert power(smallest_effect(design), design) == pytest.approx(0.8)
    needed = units_needed(2.0, 6)
    assert power(2.0, Design((needed,) * 7)) >= 0.8 > power(2.0, Design((needed - 1,) * 7))
    assert units_needed(50.0, 6) == 2
    assert units_needed(0.12, 1) is None
    assert units_needed(0.0, 6) is None
    many = units_needed(0.5, 1)
    assert 2 < many <= MAX_UNITS


def test_p_and_interval_come_from_one_distribution():
    design = Design((3, 4, 5))
    critical = critical_value(design)
    assert adjusted_p(np.array([critical]), design)[0] == pytest.approx(0.05, abs=1e-4)
    assert critical_value(Design((3, 5, 4))) == critical


# --- margins


@pytest.mark.parametrize(
    ("low", "high", "margin", "expected"),
    [
        (-0.4, 0.3, 0.5, "no gain beyond ±0.5"),
        (-0.4, 0.3, None, "inconclusive"),
        (-0.6, 0.3, 0.5, "inconclusive"),
        (0.1, 0.3, 0.5, "gain"),
        (-0.3, -0.1, 0.5, "loss"),
        (-0.5, 0.5, 0.5, "no gain beyond ±0.5"),
    ],
)
def test_verdicts_with_and_without_a_margin(low, high, margin, expected):
    assert verdict(low, high, margin) == expected


def test_a_margin_reaches_the_verdict_of_a_table():
    values = {f"r{i}": list(80 + (v - 80) / 50) for i, v in enumerate(noise(5, 3, 5))}
    table = analyse(observe(values), "r0", margin=2)
    assert {row.verdict for row in table.rows[1:]} == {"no gain beyond ±2"}


# --- several looks


@pytest.mark.parametrize("rows", [1, 3])
def test_seeds_until_decided_keep_the_level_whenever_rows_stop(rows):
    rng = np.random.default_rng(rows)
    units = rng.standard_normal((8_000, rows + 1, 12))
    for only_losses in (False, True):
        course = looks.course(units, (3, 5, 8, 12), only_losses=only_losses)
        assert (np.abs(course.gains) >= course.reach).any(axis=1).mean() <= 0.055
    units[:, 1] += 2
    course = looks.course(units, (3, 5, 8, 12))
    truth = np.array([2.0, *[0.0] * (rows - 1)])
    assert (np.abs(course.gains - truth) <= course.reach).all(axis=1).mean() >= 0.94
    assert course.decided[:, 0].mean() > 0.9
    assert course.units[:, 0].mean() < 9


def test_the_critical_values_of_planned_looks():
    """Three rows without blocks: 3.68, 3.15, 2.96, 2.89, simulated elsewhere; blocks have fewer
    degrees of freedom, and matter at three units."""
    found = looks.critical_values(3, (3, 5, 8, 12))
    assert found == sorted(found, reverse=True)
    assert found[2:] == pytest.approx([2.96, 2.89], abs=0.1)
    level = looks.nominal_level(3, (3, 5, 8, 12))
    assert critical_value(Design((3,) * 4), level) == pytest.approx(3.68, abs=0.1)


def test_looks_that_were_not_planned_share_half_a_percent():
    assert looks.unplanned_level(1) == 0.05
    assert sum(map(looks.unplanned_level, range(1, 5000))) == pytest.approx(0.055, abs=1e-5)


# --- variance components


def test_components_of_a_balanced_table_by_hand():
    table = np.array([[10.0, 12.0, 17.0], [11.0, 13.5, 16.0]])
    seed, rest = components.of_blocks(list(table))
    mean_square, df = hand_worked(table)
    of_seeds = 2 * np.var(table.mean(axis=0), ddof=1)
    assert rest.sd == pytest.approx(math.sqrt(mean_square))
    assert seed.sd == pytest.approx(math.sqrt((of_seeds - mean_square) / 2))
    assert (rest.low, rest.high) == pytest.approx(sd_interval(rest.sd, df))


def test_a_seeds_share_is_the_intraclass_correlation_of_the_literature():
    """The ratings of Shrout and Fleiss 1979, Table 2: ICC(3,1) = .71, as published.

    Its interval, .34 to .95, is that of R's ``psych::ICC``.
    """
    targets = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    seed, rest = components.of_blocks(list(np.array(targets, dtype=float).T))
    assert seed.share == pytest.approx((0.715, 0.342, 0.946), abs=1e-3)
    assert rest.share is None


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_recorded_effect_of_seeds_is_that_of_the_page(task):
    """Blocks against a paired t interval, independent units against scipy's Dunnett interval."""
    values = {}
    for path in (ROOT / "results" / "records").glob(f"{task}_quick_efficientnet_lite*.json"):
        record = json.loads(path.read_text())
        if record["training"]["images"]["train"] < 3000:  # one epoch
            row = values.setdefault(record["cell"]["backbone"], {})
            row[record["cell"]["seed"]] = record["headline"]["value"]
    ours = np.array([[values[row][seed] for seed in range(10)] for row in sorted(values)])
    text = " ".join((ROOT / "docs" / "statistics.md").read_text().split())
    share, low, high = (f"{100 * x:.0f}" for x in components.of_blocks(list(ours))[0].share)
    assert re.search(rf"\b{share} %[^.]* \({low} … {high}\)", text)
    paired = stats.ttest_rel(*ours).confidence_interval()
    alone = stats.dunnett(ours[1], control=ours[0], rng=0).confidence_interval()
    for interval in (paired, alone):
        assert f"±{np.ptp([interval.low, interval.high]) / 2:.2f}" in text


def test_seeds_without_a_common_effect_have_no_share():
    share = components.of_blocks([np.array([1.0, -1.0, 0.0]), np.array([-1.0, 1.0, 0.0])])[0].share
    assert share[0] == share[1] == 0.0


def test_intervals_of_components_hold_the_truth():
    rng = np.random.default_rng(2)
    hits = np.zeros(2)
    tables = 400
    for _ in range(tables):
        values = rng.normal(0, 0.7, size=(4, 6)) + rng.normal(0, 0.5, size=6)
        found = components.of_blocks(list(values))
        hits += [one.low <= true <= one.high for one, true in zip(found, (0.5, 0.7), strict=True)]
    assert np.all(hits / tables >= 0.92)


def test_classifiers_and_their_fine_tunings_are_separated():
    rng = np.random.default_rng(6)
    rows = [
        [
            Observation(row, f"{row}{c}", seed, mean + rng.normal(0, 0.8))
            for c, mean in enumerate(rng.normal(80, 0.6, size=200))
            for seed in range(2)
        ]
        for row in "ab"
    ]
    classifier, within = components.of_classifiers(rows)
    assert classifier.sd == pytest.approx(0.6, rel=0.1)
    assert within.sd == pytest.approx(0.8, rel=0.1)
    assert classifier.low < 0.6 < classifier.high
    assert components.of_classifiers([rows[0][::2]]) == []


# --- classifiers, seeds and images together


def test_the_total_interval_adds_both_distances_in_quadrature():
    low, high = total_interval(2.0, (-1.0, 5.0), (-2.0, 5.0), 1)
    assert (low, high) == pytest.approx((2 - 5, 2 + math.hypot(3, 3)))
    wide = total_interval(2.0, (-1.0, 5.0), (-2.0, 5.0), 3)
    assert wide[0] == pytest.approx(2 - math.hypot(3, 4 * stats.norm.ppf(1 - 0.05 / 6) / 1.959964))


@pytest.mark.parametrize("noise", [0.1, 1.0, 3.0])
def test_the_total_interval_holds_over_both_sources(noise):
    rng = np.random.default_rng(1)
    tables, n = 20_000, 4
    units = rng.standard_normal((tables, 3, n))
    gains, errors = looks.statistics(units, True)
    half = critical_value(Design((n,) * 3, blocked=True)) * errors
    images = noise * rng.standard_normal((tables, 2))
    found = gains + images
    of_images = stats.norm.ppf(0.975) * noise
    held = 0
    for gain, reach in zip(found[:2000], half[:2000], strict=True):
        ends = [
            total_interval(g, (g - h, g + h), (g - of_images, g + of_images), 2)
            for g, h in zip(gain, reach, strict=True)
        ]
        held += all(low <= 0 <= high for low, high in ends)
    assert held / 2000 >= 0.935


def test_the_best_number_of_fine_tunings_is_the_cheapest():
    within, between, ratio = 0.8, 0.4, 5.0
    best = best_fine_tunings(within, between, ratio)

    def cost(m):  # of a given precision
        return (between**2 + within**2 / m) * (ratio + m)

    assert best == pytest.approx(math.sqrt(20))
    assert cost(best) < min(cost(best * 0.9), cost(best * 1.1))


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
            random_state=np.random.default_rng(1),
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


# --- speed


def test_importing_stays_light():
    code = (
        "import sys, transfer.stats.statistics, transfer.stats.agreement, "
        "transfer.stats.correlation, transfer.stats.image_halves; "
        "sys.exit(any(name in sys.modules for name in ('scipy', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_work_of_a_table_grows_at_most_with_the_square_of_its_rows():
    """Each row has a p-value, an integral over a product with a factor for each row."""
    rng = np.random.default_rng(0)
    tables = {
        count: {f"row{i}": list(rng.normal(78 + i / 5, 0.5, size=5)) for i in range(count)}
        for count in (5, 10)
    }
    seconds = {count: [] for count in tables}
    for turn in range(5):  # in turns, and the least of each: other processes only add to it
        for count, rows in tables.items():
            analyse(observe(rows), "row0", targets={})  # what is computed once is not counted
            started = time.process_time()
            for table in range(10):
                figures = dict.fromkeys(rows, turn + table / 100)
                analyse(observe(rows), "row0", targets=figures)
            seconds[count].append(time.process_time() - started)
    assert min(seconds[10]) <= 1.1 * (9 / 4) ** 2 * min(seconds[5])  # rows beside the baseline
