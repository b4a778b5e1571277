"""Starts several processes that train together, and is what they run.

``processes.py FOLDER`` trains a few steps of both tasks and of a classifier, evaluates
given weights, and lets process 0 write what came out.
"""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**variables):
    """For a process that imports the project and its tests, and has a core of its own."""
    own = {"OMP_NUM_THREADS": 1, **variables}
    path = os.pathsep.join([str(own.pop("PYTHONPATH", "")), str(ROOT)])
    return {**os.environ, **{k: str(v) for k, v in own.items()}, "PYTHONPATH": path}


def alone(program, **variables):
    """A Python program's end and output, in a process of its own with these variables."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(**variables),
        timeout=600,
        capture_output=True,
        text=True,
        check=False,
    )


def children_seconds():
    """Processor time of ended children: what a busy machine makes of it is not their doing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start(command, count=2, of_rank=None, **variables):
    """Processes as torchrun would start them, with pipes for what they print."""
    port = _free_port()
    started = []
    for rank in range(count):
        own = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            **variables,
            **(of_rank(rank) if of_rank else {}),
        }
        started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env=environment(**own),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def _free_port():
    """A port that the kernel gives to nobody else while the processes import what they need."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def ends(started, seconds=240):
    """Exit codes and output of all processes."""
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in started]
    finally:
        for process in started:
            process.kill()  # one that waits for ever, where it has not ended
    return [process.returncode for process in started], outputs


OVERRIDES = {
    "detection": (("train_cfg.max_epochs", 1),),
    # Batch norms on their running statistics, no dropout, and a mean over all pixels: else each
    # process computes something of its own.
    "segmentation": (
        ("train_cfg.max_epochs", 3),
        ("model.backbone.norm_eval", True),
        ("model.decode_head.norm_cfg", None),
        ("model.auxiliary_head.norm_cfg", None),
        ("model.decode_head.dropout_ratio", 0),
        ("model.auxiliary_head.dropout_ratio", 0),
        ("model.decode_head.loss_decode.avg_non_ignore", False),
        ("model.auxiliary_head.loss_decode.avg_non_ignore", False),
    ),
}


def first_steps(folder: Path, task: str, processes: int) -> dict:
    """Losses of the first steps, and metrics of the weights that one process has left."""
    from backbones.runtime.checkpoint import unwrapped
    from tests.support import synthetic
    from transfer.datasets import catalogue
    from transfer.finetune import final_weights
    from transfer.finetune.finetune import build_runner, finetune
    from transfer.protocols import compose

    cell = synthetic.cell(
        "resnet18_baseline",
        task,
        protocol="quick",
        processes=processes,
        overrides=OVERRIDES[task],
    )
    data = catalogue.load(str(folder / "tiny.toml"), folder)
    cfg = compose.compose(
        cell,
        data,
        weights=str(folder / "resnet18.pth"),
        mean=(128.0,) * 3,
        std=(64.0,) * 3,
        outcomes=folder / f"{task}-{processes}.npz",
    )
    place = folder / f"{task}-{processes}"
    outcome = finetune(cfg, cell.id, place)
    runner = build_runner(cfg, place / "evaluation", [])
    final_weights.restore(unwrapped(runner.model), folder / f"{task}-1")
    return {
        "curve": outcome.curve,
        "metrics": runner.val(),
        "lr": outcome.lr,
        "batch_size": outcome.batch_size,
        "processes": outcome.processes,
        "images": outcome.images,
    }


def main(folder: Path) -> None:
    """What each process runs."""
    from backbones.common.versions import versions
    from backbones.runtime import ranks
    from transfer import openmmlab  # noqa: F401

    with ranks.together("auto", versions()):
        results = {
            task: first_steps(folder, task, ranks.world_size())
            for task in ("segmentation", "detection")
        }
        if ranks.is_main():
            path = folder / f"results-{ranks.world_size()}.json"
            path.write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
