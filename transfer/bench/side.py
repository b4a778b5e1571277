"""One side of a pair, run in its own process: ``python -m transfer.bench.side run|count WORK``."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from backbones.runtime.command import guarded
from transfer.bench.pairs import Arithmetic, Run, Work

_MODULES = {
    "classification": "transfer.bench.classifier_training",
    "detection": "transfer.bench.fine_tuning",
    "segmentation": "transfer.bench.fine_tuning",
}


def main(arguments: Sequence[str]) -> int:
    """Do the work described by a JSON text, and print the result as one line of JSON."""
    what, text = arguments
    work = Work(**json.loads(text))
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as place:
        result = _run(work, Path(place)) if what == "run" else _count(work, Path(place))
    print(json.dumps(dataclasses.asdict(result)))
    return 0


def _run(work: Work, place: Path) -> Run:
    module = importlib.import_module(_MODULES[work.task])
    done = module.SIDES[work.side](work, place)
    peak = _peak_bytes() / 2**20
    metric = done.metric if math.isfinite(done.metric) else None
    return Run(
        seconds=done.seconds,
        images=done.images or work.images,
        peak_mb=peak,
        breakdown=done.breakdown,
        metric=metric,
        steps=done.steps,
    )


def _peak_bytes() -> int:
    """Peak memory of the GPU if one was used, otherwise of the host."""
    import torch  # after the run, since the command does not import it

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_reserved()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _count(work: Work, place: Path) -> Arithmetic:
    from transfer.bench import ceiling  # a run need not import the counter

    return ceiling.count(work, place)


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1:]))
