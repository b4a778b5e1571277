"""The interval by which the default path is judged against stock training."""

import json
from pathlib import Path

import numpy as np
import pytest
import synthetic
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


def recorded(folder, precision, values):
    for seed, value in enumerate(values):
        cell = synthetic.cell("resnet18_baseline", "segmentation", seed=seed, precision=precision)
        synthetic.write(folder, cell, value)


def test_cells_recorded_in_both_precisions_are_pairs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    half, full = [30.0, 31.0, 32.0, 40.0], [30.1, 30.8, 32.1]
    recorded(tmp_path / "half", "bfloat16", half)  # the last has no twin
    recorded(tmp_path / "full", "float32", full)
    data = synthetic.cell("resnet18_baseline", "segmentation").data
    command = ["bench", "--equivalence", "--task", "segmentation", "--data", data]
    assert cli.main([*command, "--recorded", "half", "full"]) == 0
    expected = difference(half[:3], full)
    told = " ".join(capsys.readouterr().out.split())
    assert f"{expected.mean:+.2f} points" in told
    assert "3 pairs: equivalent" in told
    (path,) = Path("results/records/equivalence").iterdir()
    kept = json.loads(path.read_text())
    assert [pair["bfloat16"] for pair in kept["pairs"]] == half[:3]
    assert kept["difference"]["low"] == pytest.approx(expected.low)
    assert cli.main([*command, "--recorded", "half"]) == 2
    assert "0 cells of segmentation" in capsys.readouterr().err
