"""The scripts for a GPU, dry on a CPU at a small size, and the suites that they run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import chaos_suite
from tests.support.suites import classifier
from transfer.plan import suites
from transfer.plan.suite_cells import Choice, make_suite_plan

ROOT = Path(__file__).resolve().parents[2]


def go_through(script, here, small_sample, **given):
    """Run a script on a small sample; returns what it printed."""
    suite = chaos_suite.write_suite(
        here, small_sample, rows=["resnet18_scratch"], seeds=[0, 1], epochs=1
    )
    environment = {
        **os.environ,
        "SMALL": "1",
        "ALL_SECONDS": "3600",
        "PATIENCE": "20",
        "DATA": str(here / "tiny.toml"),
        "IMAGES": str(small_sample / "ImageFolder"),
        "SUITE": str(suite),
        "WORK": str(here / "work"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **given,
    }
    command = [ROOT / "benchmarks" / script, here / "results", here]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def records_in(here, folder):
    return [json.loads(p.read_text()) for p in sorted((here / "results").rglob(f"{folder}/*.json"))]


@pytest.mark.long
def test_every_step_on_a_gpu_measures_and_records(here, small_sample):
    printed = go_through("gpu.sh", here, small_sample)
    codes = [line for line in printed.splitlines() if line.startswith("== ") and "code" in line]
    assert [line.split(": ")[1].split(",")[0] for line in codes] == ["code 0"] * 7, printed
    measured = {(r["work"]["task"], r["against"]) for r in records_in(here, "records/bench")}
    assert measured == {
        ("detection", "stock"),
        ("segmentation", "stock"),
        ("classification", "timm"),
        ("classification", "network alone"),
        ("detection", "without KeptMemory"),
    }
    (pace,) = records_in(here, "records/suite_pace")
    assert (pace["alone"]["runs"], pace["together"]["runs"]) == (2, 2)
    assert pace["in_both"] == pace["same_metrics"] == 2
    assert pace["together"]["side_by_side"] > 1
    (equivalence,) = records_in(here, "records/equivalence")
    assert len(equivalence["difference"]["values"]) == 2


@pytest.mark.slow
def test_a_step_ends_with_its_time_and_the_next_ones_with_all_of_it():
    script = """
    . benchmarks/steps.sh
    step 30 short sleep 0.1
    step 5 long sleep 60
    step 30 last sleep 60
    step 30 late sleep 60
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "ALL_SECONDS": "11"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "short: code 0" in done.stdout
    assert "long: code 124, 5 s" in done.stdout
    assert "last: code 124" in done.stdout
    assert "late: no time left" in done.stdout


@pytest.mark.long
def test_the_experiment_trains_fine_tunes_and_records(here, small_sample):
    rows = ("resnet18_baseline", "resnet18d_tricks")
    written = chaos_suite.write_suite(here, small_sample, rows=rows, seeds=[0], epochs=1)
    text = written.read_text()
    for row in rows:
        own = f'{{ backbone = "{row}", classifiers = ["{row}_ImageFolder_s0_*.safetensors"] }}'
        text = text.replace(f'"{row}"', own, 1)
    suite = here / "experiment.toml"
    suite.write_text(text)
    printed = go_through("experiment.sh", here, small_sample, SUITE=str(suite), ROWS=" ".join(rows))
    assert len(records_in(here, "records/classifiers")) == 2, printed
    assert len(chaos_suite.records_of(here)) == 4, printed


@pytest.mark.slow
def test_the_parts_of_the_hosts_work_add_up(here, small_sample):
    command = [sys.executable, ROOT / "benchmarks" / "host_work.py", "--data-root", here]
    small = ["--backbone", "resnet18_baseline", "--images", "10", "--image-size", "64"]
    done = subprocess.run([*command, *small], capture_output=True, text=True, check=True)
    first, _, _, *rows = done.stdout.splitlines()
    total, steps = map(int, re.findall(r"\d+", first))
    calls = {row.split("|")[1].split(" (")[0].strip(): int(row.split("|")[2]) for row in rows}
    assert steps == 3 * 5 - 3, "three passes over ten images; the first three steps do not count"
    assert abs(sum(calls.values()) - total) <= len(calls), "of rounding"
    assert list(calls.values()) == sorted(calls.values(), reverse=True)
    assert {"backbone", "suppression", "region losses", "backward", "optimizer"} <= calls.keys()
    assert calls["backbone"] > 20 * 2, "convolutions and batch norms of ResNet-18"


def test_the_suites_of_the_scripts_are_sound(here, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(here / "cache"))
    for row in ("resnet50d_efficient", "resnet50d_tricks"):
        for seed in range(3):
            name = f"{row}_tiny-imagenet-200_s{seed}_0123456789abcdef.safetensors"
            classifier(here / "cache" / "classifiers" / name, seed, row)
    choice = Choice(data_root=here, without_data=True, precision="bfloat16")
    plan = make_suite_plan(suites.load("tricks50d"), choice)
    assert plan.baseline == "resnet50d_efficient"
    assert len(plan.cells) == 2 * 9
    assert {(c.backbone, c.classifier, c.seed) for c in plan.cells} == {
        (row, f"seed {seed}", seed)
        for row in ("resnet50d_efficient", "resnet50d_tricks")
        for seed in range(3)
    } | {("resnet50d_scratch", "none", seed) for seed in range(3)}
    assert len(make_suite_plan(suites.load("pace"), choice).cells) == 12
