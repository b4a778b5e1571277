"""The end of a run on the sample: what it showed, what it cannot claim, and three ways on."""

from pathlib import Path

from tests.support import synthetic
from transfer.records import records
from transfer.report.ending import ending
from transfer.report.gains import gain_tables

RESULTS = Path(__file__).resolve().parents[3] / "results"


def tables(folder, seeds):
    synthetic.write_suite(
        folder, ["resnet50_baseline", "resnet50d_tricks"], data="sample", protocol="quick",
        seeds=range(seeds),
    )  # fmt: skip
    return list(gain_tables(records.read_all(folder, "sample")[0], "resnet50_baseline"))


def test_it_says_what_was_gained_and_that_one_seed_claims_nothing(tmp_path):
    found = tables(tmp_path, 1)
    first, *others = ending(found, "resnet50d_tricks", tmp_path)
    for table in found:
        assert f"resnet50d_tricks {table.rows[1].statistics.gain:+.2f}" in first
    assert "One seed proves nothing" in first
    assert [line.split(":")[0] for line in others] == [
        "Next, your images", "Next, your backbone", "Next, the real data",
    ]  # fmt: skip
    assert "One seed" not in ending(tables(tmp_path / "three", 3), "resnet50d_tricks", tmp_path)[0]


def test_it_shows_the_way_to_what_the_project_measured_on_real_images(tmp_path):
    lines = ending(tables(tmp_path, 1), "resnet50d_tricks", RESULTS)
    assert "voc2012-animals" in lines[-2]
    assert f"transfer report --results {RESULTS} --open" in lines[-1]
