"""The hours of a verdict, beside a computation by hand."""

import json
import math
import statistics
from pathlib import Path

import pytest

from tests.support import synthetic
from transfer.records import records
from transfer.report import suite_speed, verdict_cost
from transfer.report.collection import collect
from transfer.report.speed_tables import collect as collect_speeds

ROOT = Path(__file__).resolve().parents[3]
BASE = (60.0, 60.5, 59.5, 60.0, 60.5, 59.5)
TRICKS = (62.5, 62.0, 61.5, 61.5, 62.0, 62.5)


def a_pace(folder, ours, other, **changed):
    """Seconds of training 100 images on both sides; runs of other lengths beside."""

    def runs(seconds):
        times = (seconds, 2 * seconds, seconds / 2)
        parts = ("start_up", "load", "forward", "backward", "step", "evaluate", "other")
        return [
            {
                "seconds": {"start_up": 9.0, "train": one, "evaluate": 9.0},
                "images": 100,
                "peak_mb": 1.0,
                "breakdown": dict.fromkeys(parts, 1.0),
            }
            for one in times
        ]

    work = {"task": "detection", "data": "voc0712", "protocol": "openmmlab", "image_size": 600}
    work |= {"backbone": "resnet50_baseline", "batch_size": 2, "precision": "bfloat16"}
    content = {
        "against": "stock",
        "work": {**work, "images": 100, **changed.pop("work", {})},
        "ours": runs(ours),
        "other": runs(other),
        "hardware": {"cpu": "A processor", "cores": 2, "gpus": []},
        "finished": "2026-01-01T00:00:00+00:00",
        **changed,
    }
    place = folder / "records" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{len(list(place.iterdir()))}.json").write_text(json.dumps(content))


def write_runs(folder, images, scale=1.0, **changed):
    """Two rows of six runs each, whose spread is known."""
    for row, values in (("resnet50_baseline", BASE), ("resnet50d_tricks", TRICKS)):
        for seed, value in enumerate(values):
            cell = synthetic.cell(row, seed=seed, **changed)
            content = synthetic.content(cell, scale * value, baseline="resnet50_baseline")
            content["training"]["images"]["train"] = images
            records.write(records.path_of(folder, cell), content)


@pytest.fixture
def results(tmp_path):
    write_runs(tmp_path, 36_000)
    return tmp_path


def found(results):
    return verdict_cost.costs(collect_speeds(results)[0], collect(results).gains)


def test_the_hours_are_runs_times_images_times_the_measured_pace(results):
    from scipy import stats

    a_pace(results, ours=100.0, other=250.0)
    (cost,) = found(results)
    units = cost.spread.units
    sd = cost.spread.sd
    differences = [one - other for one, other in zip(TRICKS, BASE, strict=True)]
    assert sd == pytest.approx(statistics.stdev(differences) / math.sqrt(2)), "what blocks leave"
    assert cost.runs == 2 * units

    def power(n):
        """Of a paired t test, by the noncentral distribution; its other tail counts nothing."""
        shift = verdict_cost.GAIN / (sd * math.sqrt(2 / n))
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift)

    assert power(units - 1) < 0.8 <= power(units)
    assert cost.ours == pytest.approx(2 * units * 36_000 * 1.0 / 3600)
    assert cost.theirs == pytest.approx(2.5 * cost.ours)


def test_the_spread_of_short_runs_does_not_stand_for_that_of_long_ones(results):
    a_pace(results, ours=100.0, other=250.0)
    (before,) = found(results)
    write_runs(results, 9_000, scale=0.5, protocol="quick")
    write_runs(results, 9_000, scale=0.5, protocol="another")
    (after,) = found(results)
    assert after.spread == before.spread


def test_the_figure_is_that_of_the_largest_images_on_a_gpu_and_on_a_cpu(results):
    a_pace(results, 100.0, 300.0)
    a_pace(results, 10.0, 20.0, work={"image_size": 320})
    gpu = {"cpu": "A processor", "cores": 16, "gpus": ["A GPU"]}
    a_pace(results, 5.0, 10.0, hardware=gpu)
    a_pace(results, 5.0, 7.0, hardware=gpu, against="stock amp")
    a_pace(results, 5.0, 7.0, work={"data": "others"})
    costs = found(results)
    assert len(costs) == 4, "nothing is known of the spread on other data"
    sentence = verdict_cost.figure(costs)
    units = costs[0].spread.units
    ours, stock = f"{2 * units * 0.5:.1f}", f"{2 * units * 1.0:.0f}"
    assert f"{ours} hours of one A GPU (stock training: {stock})" in sentence
    assert f"{2 * units * 10:.0f} hours of 2 cores of A processor" in sentence
    assert verdict_cost.text(costs).count("A processor") == 4


def test_without_records_it_says_so(tmp_path):
    assert "no measurements" in verdict_cost.text([])
    assert "No cost" in verdict_cost.figure([])


def test_runs_an_hour_are_those_of_the_last_record_and_bad_files_are_named(tmp_path):
    place = tmp_path / "records" / suite_speed.FOLDER
    place.mkdir(parents=True)

    def put(name, finished, an_hour):
        content = {
            "suite": "pace",
            "alone": {"an_hour": 40.0, "side_by_side": 1.0},
            "together": {"an_hour": an_hour, "side_by_side": 7.5},
            "in_both": 2,
            "same_metrics": 1,
            "hardware": {"cpu": "A processor", "cores": 16, "gpus": ["A GPU"]},
            "finished": finished,
        }
        (place / name).write_text(json.dumps(content))

    assert "no measurements" in suite_speed.text(tmp_path)[0]
    put("a.json", "2026-01-02", 160.0)
    put("b.json", "2026-01-01", 80.0)
    (place / "c.json").write_text('{"suite": 3}')
    text, (sentence,) = suite_speed.text(tmp_path)
    assert "| pace | 40 | 160 | 7.5 | **4.00** | 1 of 2 |" in text
    assert "**2.00**" not in text
    assert "c.json" in sentence


def test_the_cost_of_a_verdict_is_not_stale():
    costs = verdict_cost.costs(collect_speeds(ROOT / "results")[0], collect(ROOT / "results").gains)
    for part, name, made in (
        (verdict_cost.PART, "docs/speed.md", verdict_cost.text(costs)),
        (verdict_cost.FIGURE, "README.md", verdict_cost.figure(costs)),
        (suite_speed.PART, "docs/speed.md", suite_speed.text(ROOT / "results")[0]),
    ):
        content = (ROOT / name).read_text(encoding="utf-8")
        if part is not verdict_cost.FIGURE or part.begin in content:
            between = content.split(part.begin)[1].split(part.end)[0]
            assert between == "\n" + made, "run 'transfer bench --table'"
