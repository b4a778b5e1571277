"""Kendall's τ between a frozen backbone and fine-tuning, on made-up records with known orders."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.support import synthetic

ROOT = Path(__file__).resolve().parents[2]
ROWS = (
    "resnet50_baseline",
    "resnet50d_efficient",
    "resnet50d_cosine",
    "resnet50_baseline_shuffled",
)


@pytest.fixture(scope="module")
def script():
    file = ROOT / "benchmarks" / "rank_agreement.py"
    spec = importlib.util.spec_from_file_location("rank_agreement", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(results, protocol, values, seed=0, **changed):
    """One run of each row; ``values`` are the headlines in the order of ``ROWS``."""
    for row, value in zip(ROWS, values, strict=False):
        of = synthetic.cell(row, protocol=protocol, seed=seed, **changed)
        synthetic.write(results, of, value, baseline=ROWS[0])


def called(script, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rank_agreement.py", *map(str, arguments)])
    return script.main()


def test_tau_is_that_of_the_pairs_counted_by_hand(script, tmp_path, monkeypatch, capsys):
    write(tmp_path, "frozen", [50.0, 51.0, 52.0, 20.0])
    write(tmp_path, "frozen", [50.0, 51.5, 51.0, 20.0], seed=1)
    # Means 50.0 < 51.25 < 51.5; fine-tuned, the second and third row change places.
    write(tmp_path, "quick", [60.0, 63.0, 61.0, 30.0])
    write(tmp_path, "quick", [60.0, 64.0, 62.0, 30.0], seed=1)
    assert called(script, monkeypatch, "--results", tmp_path) == 0
    (line,) = capsys.readouterr().out.splitlines()[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    # Of six pairs of rows one is reversed: (5 - 1) / 6. Without the control it is one of three.
    # Seed 1 has the same order both times.
    assert cells[2:] == ["4", "0.67", "0.67, 1.00", "3", "0.33"]


def test_only_seeds_that_all_rows_have_count(script, tmp_path, monkeypatch, capsys):
    write(tmp_path, "frozen", [50.0, 51.0, 52.0])
    write(tmp_path, "quick", [60.0, 61.0, 62.0])
    write(tmp_path, "quick", [90.0, 61.0], seed=1)  # the first row would be the best of all
    assert called(script, monkeypatch, "--results", tmp_path) == 0
    (line,) = capsys.readouterr().out.splitlines()[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:] == ["3", "1.00", "1.00", "3", "1.00"]


def test_other_data_tasks_and_rows_are_not_compared(script, tmp_path, monkeypatch, capsys):
    write(tmp_path, "frozen", [50.0, 51.0, 52.0])
    write(tmp_path, "quick", [60.0, 61.0, 62.0], data="voc2012")
    write(tmp_path, "quick", [60.0, 61.0, 62.0], data_fingerprint="other")
    write(tmp_path, "quick", [60.0, 61.0])
    assert called(script, monkeypatch, "--results", tmp_path) == 2
    error = capsys.readouterr().err
    assert "ranks-frozen" in error
    assert str(tmp_path) in error


def test_a_folder_without_records_is_one_sentence(script, tmp_path, monkeypatch, capsys):
    assert called(script, monkeypatch, "--results", tmp_path / "none") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_table_of_the_page_is_not_stale(script, monkeypatch, capsys):
    assert called(script, monkeypatch) == 0
    text = script.PAGE.read_text(encoding="utf-8")
    between = text.partition(script.PART.begin)[2].partition(script.PART.end)[0]
    assert between == f"\n{capsys.readouterr().out}", "run the script with --write"
