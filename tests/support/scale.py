"""What scheduling costs, and what limits a large suite.

``scale.py cells`` runs empty cells through the real schedule, in processes or on a Ray
cluster that it starts, and prints milliseconds a cell. ``scale.py simulate`` runs the
real schedule, leases, records and view against GPUs that only pass the time: the times of finished
records, on a clock that jumps from one event to the next and counts every second that the driver
itself takes.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import io
import itertools
import json
import os
import pstats
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from rich.console import Console  # noqa: E402

from backbones.zoo import zoo  # noqa: E402
from tests.support import synthetic  # noqa: E402
from transfer.plan.durations import Durations  # noqa: E402
from transfer.records import records  # noqa: E402
from transfer.records.cells import Task  # noqa: E402
from transfer.records.provenance import machine  # noqa: E402
from transfer.scheduling.process import ProcessExecutor  # noqa: E402
from transfer.scheduling.schedule import Schedule, record_path  # noqa: E402
from transfer.scheduling.view import SuiteView  # noqa: E402

ROWS = synthetic.PAPER_ROWS


def tasks_of(count: int, folder: Path) -> list[Task]:
    """So many cells of the paper's rows."""
    every = itertools.product(range(count), ("detection", "segmentation"), ROWS)
    return [
        Task(
            cell=synthetic.cell(row, task, seed=seed),
            row=zoo.find(row),
            data="voc0712",
            data_root=folder,
            results=folder / "results",
            work_dir=folder / "work",
            command="",
        )
        for seed, task, row in itertools.islice(every, count)
    ]


def empty_cell(task: Task, listener) -> None:
    """A cell that trains nothing, and leaves a record of usual size made before."""
    listener("train", 1, 1)
    path = record_path(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(record_of(task.cell.task))


@cache
def record_of(kind: str) -> bytes:
    """A record of a cell of a task."""
    content = synthetic.content(synthetic.cell(ROWS[0], kind), 50.0)
    return json.dumps({**content, "hardware": machine()}).encode()


def run(tasks, jobs, executor) -> np.ndarray:
    """Seconds of a whole schedule with its view, on the clock and of this process's processor."""
    console = Console(file=io.StringIO(), width=200)
    began = np.array([time.perf_counter(), time.process_time()])
    with SuiteView(len(tasks), console, Durations(), jobs) as view:
        tally = Schedule(tasks, jobs=jobs, retry=0, executor=executor, watcher=view).run()
    assert len(tally.done) == len(tasks), tally.failed[:1]
    return np.array([time.perf_counter(), time.process_time()]) - began


def measure(count: int, jobs: int, ray: bool, folder: Path) -> np.ndarray:
    """Milliseconds a cell as :func:`run` tells them, without those of starting the workers."""
    from tests.support import scale  # workers find the function there, not in a script

    whole = tasks_of(count + jobs, folder)
    if not ray:
        executor = ProcessExecutor(jobs, folder / "work", scale.empty_cell)
        seconds = run(whole[:count], jobs, executor)
        start_up = run(whole[count:], jobs, executor)
        return 1000 * (seconds - start_up) / (count - jobs)
    import ray as library

    from transfer.scheduling.cluster import ClusterExecutor

    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ["PYTHONPATH"] = path
    library.init(num_cpus=jobs, include_dashboard=False, log_to_driver=False)
    cluster = ClusterExecutor("auto", jobs, run_cell=scale.empty_cell)
    try:
        seconds = run(whole[:count], jobs, cluster)
        start_up = run(whole[count:], jobs, cluster)
    finally:
        cluster.close()
    return 1000 * (seconds - start_up) / (count - jobs)


class SimulatedGPUs:
    """GPUs whose cells take as long as records say.

    Attributes:
        clock: Seconds since the beginning, the driver's own included.
        driver: Seconds that the driver took.
    """

    def __init__(self, times: list[float]) -> None:
        self.times = itertools.cycle(times)
        self.clock = self.driver = self.busy = 0.0
        self.since = time.perf_counter()
        self.numbers = itertools.count()
        self.ends: list[tuple[float, int, _SimulatedGPU]] = []

    def start(self, number: int) -> _SimulatedGPU:
        """One more."""
        return _SimulatedGPU(self, number)

    def wait(self, workers, seconds: float) -> None:
        """The driver has done what it had to do: count that, and go on to what ends next."""
        now = time.perf_counter()
        self.driver += now - self.since
        self.clock += now - self.since
        if self.ends and self.ends[0][0] > self.clock:
            self.clock = self.ends[0][0]
        while self.ends and self.ends[0][0] <= self.clock:
            heapq.heappop(self.ends)[2].end()
        self.since = time.perf_counter()

    def begin(self, gpu: _SimulatedGPU) -> None:
        """A cell begins now."""
        now = self.clock + time.perf_counter() - self.since
        seconds = next(self.times)
        self.busy += seconds
        heapq.heappush(self.ends, (now + seconds, next(self.numbers), gpu))


class _SimulatedGPU:
    def __init__(self, gpus: SimulatedGPUs, number: int) -> None:
        self.gpus, self.number = gpus, number
        self.owner, self.where = os.getpid(), f"GPU {number}"
        self.task: Task | None = None
        self.said: list[tuple] = []

    def hand(self, task: Task) -> None:
        self.task = task
        self.gpus.begin(self)

    def end(self) -> None:
        began = time.perf_counter()
        empty_cell(self.task, lambda *progress: self.said.append(("step", *progress)))
        self.gpus.since += time.perf_counter() - began  # the node writes it, not the driver
        self.said.append(("done",))

    def messages(self) -> list[tuple]:
        taken, self.said = self.said, []
        return taken

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        pass


def simulate(count: int, gpus: int, times: list[float], folder: Path) -> SimulatedGPUs:
    """The real schedule on simulated GPUs."""
    simulated = SimulatedGPUs(times)
    run(tasks_of(count, folder), gpus, simulated)
    return simulated


def times_of(places: list[Path]) -> list[float]:
    """Seconds of the cells whose records stand in results folders."""
    found = [path for place in places for path in sorted(place.rglob("records/*.json"))]
    return [sum(records.read(path).content["seconds"].values()) for path in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("cells", "simulate"))
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="workers, or simulated GPUs")
    parser.add_argument("--ray", action="store_true", help="on a Ray cluster of this machine")
    parser.add_argument("--records", type=Path, nargs="+", help="results folders, for their times")
    parser.add_argument("--profile", action="store_true", help="what the driver spends its time on")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    profile = cProfile.Profile()
    if args.profile:
        profile.enable()
    try:
        if args.what == "cells":
            each = measure(args.cells, args.jobs, args.ray, folder)
            print(
                f"{args.cells} empty cells, {args.jobs} workers: {each[0]:.2f} ms a cell, "
                f"{each[1]:.2f} ms of them the driver's processor"
            )
        else:
            times = times_of(args.records)
            gpus = simulate(args.cells, args.jobs, times, folder)
            free = [0.0] * args.jobs
            for seconds in itertools.islice(itertools.cycle(times), args.cells):
                heapq.heapreplace(free, free[0] + seconds)
            print(
                f"{args.cells} cells on {args.jobs} GPUs, {len(times)} records' times "
                f"({min(times):.0f} to {max(times):.0f} s): done after "
                f"{timedelta(seconds=round(gpus.clock))}, with a driver that takes no time "
                f"{timedelta(seconds=round(max(free)))}; GPUs busy "
                f"{100 * gpus.busy / (gpus.clock * args.jobs):.1f} % of the time; the driver took "
                f"{gpus.driver:.1f} s, {1000 * gpus.driver / args.cells:.2f} ms a cell"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    return 0


if __name__ == "__main__":
    sys.exit(main())
