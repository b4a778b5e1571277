"""Runs an hour of a suite: one at a time, and side by side.

Each way runs the suite's command in a folder of its own. One at a time trains fewer of the same
runs, those of one seed, since its pace does not depend on their number.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.screen import screen
from transfer.bench.bench_record import circumstances, write
from transfer.records import records
from transfer.report.suite_speed import FOLDER


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The pace of a suite.

    Attributes:
        jobs: As in ``transfer run --jobs``.
        seconds: Of the whole command, with its start.
        side_by_side: Mean number of runs on a card, or without GPUs on the machine.
        metrics: The metrics of each finished run, by its name.
    """

    jobs: str
    seconds: float
    side_by_side: float
    metrics: dict[str, dict[str, float | None]]

    @property
    def an_hour(self) -> float:
        """Finished runs an hour."""
        return 3600 * len(self.metrics) / self.seconds

    def described(self) -> dict[str, object]:
        """For a record."""
        return {
            "jobs": self.jobs,
            "runs": len(self.metrics),
            "seconds": self.seconds,
            "side_by_side": self.side_by_side,
            "an_hour": self.an_hour,
        }


def run(args: argparse.Namespace) -> int:
    """Measure both ways, print and record them.

    Raises:
        UserError: A run failed, or none was finished in time.
    """
    console = screen()
    paces: list[Pace] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for jobs, seeds in (("1", 1), (args.jobs, args.seeds)):
            done = _pace(args, jobs, seeds, Path(folder) / str(len(paces)))
            console.print(
                f"--jobs {jobs}: {len(done.metrics)} runs in {done.seconds:.0f} s, "
                f"{done.an_hour:.0f} an hour, {done.side_by_side:.1f} side by side",
                highlight=False,
            )
            paces.append(done)
    alone, together = paces
    both = sorted(alone.metrics.keys() & together.metrics.keys())
    alike = [name for name in both if _text(alone, name) == _text(together, name)]
    content = {
        "kind": "suite",
        "suite": Path(args.suite).stem,
        "alone": alone.described(),
        "together": together.described(),
        "ratio": together.an_hour / alone.an_hour,
        "in_both": len(both),
        "same_metrics": len(alike),
        **circumstances(),
    }
    now = datetime.now(timezone.utc)
    path = args.results / "records" / FOLDER / f"{content['suite']}_{now:%Y%m%dT%H%M%S}.json"
    write(content, path)
    console.print(
        f"side by side: {content['ratio']:.2f} times the runs an hour; {len(alike)} of {len(both)} "
        f"runs have the same metrics in both ways\nrecorded in {path}",
        highlight=False,
    )
    return 0


def _pace(args: argparse.Namespace, jobs: str, seeds: int | None, place: Path) -> Pace:
    """Run the suite in a new folder; after ``--minutes``, what is finished counts."""
    command = [sys.executable, "-m", "transfer.cli.main", "run", "--suite", args.suite]
    command += ["--jobs", jobs, "--precision", args.precision, "--data-root", str(args.data_root)]
    command += ["--results", str(place / "results"), "--work-dir", str(place / "work")]
    command += ["--seeds", str(seeds)] if seeds else []
    limit = 60 * args.minutes if args.minutes else None
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:  # its workers end with it
        fault = "no run was finished in time; give it more --minutes"
    else:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        fault = lines[-1] if lines else "it printed nothing"
        if done.returncode:
            raise UserError(f"The suite '{args.suite}' failed with --jobs {jobs}: {fault}")
    seconds = time.monotonic() - began
    paths = sorted((place / "results").rglob("records/*.json"))
    if not paths:
        raise UserError(f"The suite '{args.suite}' gave no record with --jobs {jobs}: {fault}")
    found = [records.read(path) for path in paths]
    return Pace(
        jobs=jobs,
        seconds=seconds,
        side_by_side=statistics.fmean(one.content["side_by_side"] for one in found),
        metrics={one.path.stem: one.content["metrics"] for one in found},
    )


def _text(pace: Pace, name: str) -> str:
    """The metrics of a run to the last bit."""
    return json.dumps(pace.metrics[name], sort_keys=True)
