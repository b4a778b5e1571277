"""The interval by which the default path is judged against stock training."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.bench import bench_command as bench_command
from transfer.bench import equivalence
from transfer.bench.equivalence import difference
from transfer.bench.pairs import Run
from transfer.cli import main


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
        ((-3.0, 3.0, 0.0), "inconclusive"),
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
    assert main.main(["bench", "--equivalence"]) == 2
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
    assert main.main([*command, "--recorded", "half", "full"]) == 0
    expected = difference(half[:3], full)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{expected.mean:+.2f} points" in printed
    assert "3 pairs: equivalent" in printed
    (path,) = Path("results/records/equivalence").iterdir()
    kept = json.loads(path.read_text())
    assert [pair["bfloat16"] for pair in kept["pairs"]] == half[:3]
    assert kept["difference"]["low"] == pytest.approx(expected.low)
    assert main.main([*command, "--recorded", "half"]) == 2
    assert "0 runs of segmentation" in capsys.readouterr().err


@pytest.fixture
def sides(monkeypatch):
    """Runs that take no time; which were asked for, and a checkout and versions to change."""
    state = {"asked": [], "git": {"commit": "a", "changed": False}, "versions": {"torch": "2"}}

    def run_side(work):
        state["asked"].append((work.side, work.seed))
        if len(state["asked"]) == state.get("breaks_at"):
            raise KeyboardInterrupt
        metric = 20.0 + work.seed + (0.1 * work.seed if work.side == "ours" else 0.0)
        return Run(
            seconds={"train": 1.0}, images=work.images, peak_mb=100.0, breakdown={}, metric=metric
        )

    def circumstances():
        fields = {"hardware": {}, "finished": "2026-01-01T00:00:00+00:00"}
        return {**fields, "git": state["git"], "versions": state["versions"]}

    monkeypatch.setattr(equivalence, "run_side", run_side)
    monkeypatch.setattr(bench_command, "circumstances", circumstances)
    return state


def measure(folder, pairs):
    results = ["--results", str(folder)]
    return main.main(
        ["bench", "--equivalence", "--task", "detection", "--pairs", str(pairs), *results]
    )


def the_record(folder):
    (path,) = (folder / "records" / "equivalence").iterdir()
    return json.loads(path.read_text())


def test_a_file_whose_runs_tell_more_than_today_is_gone_on_with(tmp_path, sides):
    assert measure(tmp_path, 2) == 0
    (path,) = (tmp_path / "records" / "equivalence").iterdir()
    content = json.loads(path.read_text())
    content["ours"]["0"]["run"]["operations"] = 0.0
    path.write_text(json.dumps(content))
    sides["asked"].clear()
    assert measure(tmp_path, 3) == 0
    assert sides["asked"] == [("ours", 2), ("stock", 2)]


def test_a_stopped_measurement_goes_on_and_a_longer_one_adds_seeds(tmp_path, sides, capsys):
    sides["breaks_at"] = 4
    assert measure(tmp_path, 3) == 130
    assert "difference" not in the_record(tmp_path)
    sides["asked"].clear()
    sides["breaks_at"] = None
    assert measure(tmp_path, 3) == 0
    assert sides["asked"] == [("stock", 1), ("ours", 2), ("stock", 2)]
    found = the_record(tmp_path)["difference"]
    assert found["values"] == pytest.approx([0.0, 0.1, 0.2])
    sides["asked"].clear()
    assert measure(tmp_path, 4) == 0
    assert sides["asked"] == [("ours", 3), ("stock", 3)]
    assert "4 pairs: equivalent" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({"git": {"commit": "b", "changed": False}}, ["ours"]),
        ({"git": {"commit": "a", "changed": False}}, []),
        ({"versions": {"torch": "3"}}, ["ours", "stock"]),
    ],
)
def test_ours_counts_for_its_commit_and_stock_for_its_libraries(tmp_path, sides, changed, again):
    assert measure(tmp_path, 2) == 0
    sides["asked"].clear()
    sides.update(changed)
    assert measure(tmp_path, 2) == 0
    assert sorted(sides["asked"]) == [(side, seed) for side in again for seed in (0, 1)]


def test_what_a_changed_checkout_measured_is_measured_again(tmp_path, sides):
    sides["git"] = {"commit": "a", "changed": True}
    assert measure(tmp_path, 2) == 0
    sides["asked"].clear()
    assert measure(tmp_path, 2) == 0
    assert len(sides["asked"]) == 4


def test_weights_that_are_not_there_and_a_broken_record_are_sentences(tmp_path, sides, capsys):
    command = ["bench", "--equivalence", "--task", "detection", "--results", str(tmp_path)]
    assert main.main([*command, "--weights", "nowhere.safetensors"]) == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
    assert measure(tmp_path, 2) == 0
    (path,) = (tmp_path / "records" / "equivalence").iterdir()
    path.write_text(path.read_text()[:100])
    assert measure(tmp_path, 2) == 2
    assert path.name in " ".join(capsys.readouterr().err.split())
