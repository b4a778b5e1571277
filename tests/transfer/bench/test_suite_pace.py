"""The pace of a suite; its command is a stand-in that writes records."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import synthetic
from transfer.bench import suite_pace
from transfer.cli import main
from transfer.records import records
from transfer.report import suite_speed

ASKED = ["bench", "--suite", "own.toml", "--seeds", "3", "--precision", "float32"]


@pytest.fixture
def command(monkeypatch):
    """Runs of as many seeds as asked for; one of them differs if they are side by side."""
    options = {"returncode": 0, "late": False, "seen": []}

    def run(given, timeout, **_):
        asked = dict(zip(given[4::2], given[5::2], strict=True))
        options["seen"].append((asked["--jobs"], asked["--seeds"], timeout))
        together = asked["--jobs"] != "1"
        for seed in range(0 if options["returncode"] else int(asked["--seeds"])):
            cell = synthetic.cell("resnet50_baseline", seed=seed)
            content = synthetic.content(cell, 50.0 + (together and options["late"]))
            path = records.path_of(Path(asked["--results"]), cell)
            records.write(path, {**content, "side_by_side": 2.5 if together else 1.0})
        if options["late"] and together:
            raise subprocess.TimeoutExpired(given, timeout)
        return SimpleNamespace(returncode=options["returncode"], stdout="", stderr="no such data")

    here = {"hardware": {"cpu": "A processor", "cores": 2}, "finished": "2026-01-01"}
    monkeypatch.setattr(suite_pace, "circumstances", lambda: here)
    monkeypatch.setattr(suite_pace.subprocess, "run", run)
    return options


def recorded(tmp_path):
    (path,) = (tmp_path / "records" / suite_speed.FOLDER).iterdir()
    return json.loads(path.read_text())


def test_both_ways_are_recorded_with_their_rates_and_what_they_share(command, tmp_path, capsys):
    assert main.main([*ASKED, "--results", str(tmp_path)]) == 0
    assert command["seen"] == [("1", "1", None), ("auto", "3", None)]
    found = recorded(tmp_path)
    assert (found["alone"]["runs"], found["together"]["runs"]) == (1, 3)
    for way in (found["alone"], found["together"]):
        assert way["an_hour"] == pytest.approx(3600 * way["runs"] / way["seconds"])
    assert found["ratio"] == pytest.approx(found["together"]["an_hour"] / found["alone"]["an_hour"])
    assert found["together"]["side_by_side"] == 2.5
    assert (found["same_metrics"], found["in_both"]) == (1, 1)
    assert "1 of 1 runs have the same metrics" in " ".join(capsys.readouterr().out.split())
    assert "1 of 1" in suite_speed.text(tmp_path)[0]


def test_what_is_finished_when_the_time_ends_counts_and_other_metrics_are_seen(command, tmp_path):
    command["late"] = True
    assert main.main([*ASKED, "--minutes", "2", "--results", str(tmp_path)]) == 0
    assert [timeout for *_, timeout in command["seen"]] == [120, 120]
    found = recorded(tmp_path)
    assert found["together"]["runs"] == 3
    assert (found["same_metrics"], found["in_both"]) == (0, 1)


def test_a_suite_that_fails_is_reported_and_nothing_is_recorded(command, tmp_path, capsys):
    command["returncode"] = 2
    assert main.main([*ASKED, "--results", str(tmp_path)]) == 2
    assert "no such data" in capsys.readouterr().err
    assert not (tmp_path / "records").exists()
