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
        "All runs on the sample", "Next, your images", "Next, your backbone", "Next, the real data",
    ]  # fmt: skip
    assert "One seed" not in ending(tables(tmp_path / "three", 3), "resnet50d_tricks", tmp_path)[0]


def test_it_names_the_runs_own_folder_and_apart_from_it_what_the_project_publishes(tmp_path):
    lines = ending(tables(tmp_path, 1), "resnet50d_tricks", tmp_path, RESULTS)
    assert lines[1].endswith(f"transfer report --results {tmp_path} --sample --open")
    assert lines[-2].startswith("A result that this project publishes, on real images: ")
    assert "voc2012-animals" in lines[-2]
    assert lines[-1].endswith(f"publishes: transfer report --results {RESULTS} --open")


def test_results_on_real_images_of_the_runs_own_folder_come_before_those(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_tricks"])
    lines = ending(tables(tmp_path, 1), "resnet50d_tricks", tmp_path, RESULTS)
    assert lines[-2].startswith("Earlier result on real images: ")
    assert lines[-1].endswith(f"transfer report --results {tmp_path} --open")
