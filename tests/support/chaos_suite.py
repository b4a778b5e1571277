"""Kills a suite's driver, and its workers, at random moments: nothing may be lost or done twice.

``chaos_suite.py --kills 50 --seed 1`` runs a suite of sample cells of both tasks
undisturbed, then once more with kills, then once more by four drivers that start together, and
compares records, metrics and what is left on the disk. The normal tests run a small version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("detection", "segmentation")


def write_suite(folder: Path, sample: Path, *, rows, seeds, tasks=TASKS, epochs=2, name="suite"):
    """A suite of quick cells on a small sample; returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "configs" / "datasets" / "sample.toml").read_text(encoding="utf-8")
    text = text.replace('name = "sample"', 'name = "tiny"')
    text = text.replace('roots = ["sample"]', f"root = {json.dumps(str(sample))}")
    (folder / "tiny.toml").write_text(text, encoding="utf-8")
    path = folder / f"{name}.toml"
    path.write_text(
        "\n".join(
            [
                'kind = "transfer"',
                f"tasks = {json.dumps(list(tasks))}",
                'data = "tiny.toml"',
                'protocol = "quick"',
                'precision = "float32"',
                f"seeds = {json.dumps(list(seeds))}",
                f"rows = {json.dumps(list(rows))}",
                "[overrides]",
                f'"train_cfg.max_epochs" = {epochs}',
            ]
        ),
        encoding="utf-8",
    )
    return path


def start(suite: Path, folder: Path, *more: str) -> subprocess.Popen:
    """A driver of a suite, in a session of its own, with its output in ``driver.log``."""
    command = [sys.executable, "-m", "transfer.cli.main", "run", "--suite", str(suite)]
    command += ["--results", str(folder / "results"), "--work-dir", str(folder / "work")]
    command += ["--save-minutes", "0.02", *more]
    folder.mkdir(parents=True, exist_ok=True)
    # Unbuffered: a line that was printed before a kill must be in the log.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with (folder / "driver.log").open("a") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def children(pid: int) -> list[int]:
    """Worker processes of a driver."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    command_lines = {int(child): Path(f"/proc/{child}/cmdline") for child in listed}
    return [child for child, path in command_lines.items() if b"spawn_main" in _bytes(path)]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def kill_at(driver: subprocess.Popen, seconds: float, draw: random.Random) -> str:
    """SIGKILL the driver, or now and then one of its workers, after some time."""
    try:
        driver.wait(seconds)
        return "finished"
    except subprocess.TimeoutExpired:
        pass
    workers = children(driver.pid)
    victim = draw.choice(workers) if workers and draw.random() < 0.3 else driver.pid
    os.kill(victim, signal.SIGKILL)
    if victim == driver.pid:
        driver.wait()
        return "driver"
    return "worker"


def records_of(folder: Path) -> dict[str, Path]:
    """Record files by name."""
    return {path.name: path for path in (folder / "results").rglob("records/*.json")}


def digests(folder: Path) -> dict[str, str]:
    """What must never change once it is there."""
    return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in records_of(folder).items()}


def given(folder: Path) -> dict[str, tuple]:
    """What cells gave, by the name of their record: metrics, curve, and weights to the bit."""
    recorded = {name: json.loads(path.read_text()) for name, path in records_of(folder).items()}
    return {
        name: (content["metrics"], content["curve"], weights_of(folder, name))
        for name, content in recorded.items()
    }


def weights_of(folder: Path, record: str) -> str:
    """Hash of the final weights of a cell."""
    path = folder / "work" / Path(record).stem / "weights.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Files that a finished suite must not leave."""
    found = [p for p in (folder / "results").rglob("*") if p.is_file()]
    stray = [p for p in found if p.parent.name != "records" or p.name.startswith(".")]
    states = list((folder / "work").rglob("*.pt*"))
    return sorted(str(path) for path in (*stray, *states))


def done_lines(log: Path) -> list[str]:
    """Cells that a driver says it has finished itself."""
    return re.findall(r"^done    (\S+): .* in \d+ s$", log.read_text(), re.MULTILINE)


def run_with_kills(suite: Path, folder: Path, kills: int, draw: random.Random, longest: float):
    """Kill so many times, then let the suite end; returns the victims and the faults found."""
    victims: list[str] = []
    faults: list[str] = []
    before: dict[str, str] = {}
    driver = start(suite, folder, "--retry", "1000")
    while len(victims) < kills:
        victim = kill_at(driver, draw.uniform(0.1, longest), draw)
        if victim != "worker":
            now = digests(folder)
            faults += [f"{name} was changed" for name in before if before[name] != now.get(name)]
            before = now
            if victim == "finished":
                break
            driver = start(suite, folder, "--retry", "1000")
        victims.append(victim)
    code = driver.wait()
    if code:
        faults.append(f"the last driver ended with code {code}")
    now = digests(folder)
    faults += [f"{name} was changed" for name in before if before[name] != now.get(name)]
    twice = done_lines(folder / "driver.log")
    faults += [f"{name} was finished twice" for name in set(twice) if twice.count(name) > 1]
    return victims, faults


def compare(folder: Path, reference: Path) -> list[str]:
    """What differs between the records of two runs of one suite, and what lies about."""
    ours, theirs = given(folder), given(reference)
    faults = [f"{name} is missing" for name in theirs.keys() - ours.keys()]
    faults += [f"{name} is too many" for name in ours.keys() - theirs.keys()]
    both = ours.keys() & theirs.keys()
    faults += [f"{n} gave other metrics or weights" for n in both if ours[n] != theirs[n]]
    return faults + [f"left over: {path}" for path in leftovers(folder)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds between two kills")
    parser.add_argument("--seeds", type=int, default=2, help="cells of each row and task")
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ.setdefault("TRANSFER_CACHE", str(folder / "cache"))
    from tests.support.small_sample import SIZES
    from transfer.datasets import sample

    sample.draw_sample(
        folder / "sample",
        sizes=SIZES,
    )
    rows = ("resnet18_scratch", "resnet18d_scratch")
    suite = write_suite(folder, folder / "sample", rows=rows, seeds=range(args.seeds), epochs=4)
    began = time.monotonic()
    code = start(suite, folder / "calm").wait()
    print(
        f"undisturbed: code {code}, {len(records_of(folder / 'calm'))} records, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    draw = random.Random(args.seed)
    began = time.monotonic()
    victims, faults = run_with_kills(suite, folder / "killed", args.kills, draw, args.longest)
    faults += compare(folder / "killed", folder / "calm")
    print(
        f"{len(victims)} kills ({victims.count('worker')} of workers): "
        f"{len(records_of(folder / 'killed'))} records, {time.monotonic() - began:.0f} s, "
        f"faults: {faults}",
        flush=True,
    )
    began = time.monotonic()
    together, more = run_together(suite, folder / "together", drivers=4)
    more += compare(folder / "together", folder / "calm")
    print(
        f"four drivers: finished {together} cells, {time.monotonic() - began:.0f} s, "
        f"faults: {more}",
        flush=True,
    )
    return int(bool(faults or more))


def run_together(suite: Path, folder: Path, drivers: int) -> tuple[list[int], list[str]]:
    """Several drivers at once on one results folder; how many cells each finished, and faults."""
    logs = [folder / f"driver-{number}" for number in range(drivers)]
    shared = ("--results", str(folder / "results"), "--work-dir", str(folder / "work"))
    running = [start(suite, log, *shared) for log in logs]
    codes = [driver.wait() for driver in running]
    faults = [f"driver {n} ended with code {code}" for n, code in enumerate(codes) if code]
    finished = [done_lines(log / "driver.log") for log in logs]
    every_name = [name for names in finished for name in names]
    faults += [
        f"{name} was finished twice" for name in set(every_name) if every_name.count(name) > 1
    ]
    return [len(names) for names in finished], faults


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
