"""One side of a pair, in a process of its own: ``python -m transfer.bench.side WORK``."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import resource
import sys
import tempfile
from pathlib import Path

from backbones.runtime.command import guarded
from transfer.bench.pairs import Run, Work

_MODULES = {
    "classification": "transfer.bench.classifiers",
    "detection": "transfer.bench.fine_tuning",
    "segmentation": "transfer.bench.fine_tuning",
}


def main(text: str) -> int:
    """Do the work that a JSON text tells of, and print what it took as one line of JSON."""
    work = Work(**json.loads(text))
    module = importlib.import_module(_MODULES[work.task])
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as place:
        done = module.SIDES[work.side](work, Path(place))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    run = Run(
        done.seconds,
        work.images,
        peak,
        done.breakdown,
        done.metric if math.isfinite(done.metric) else None,
        done.operations,
        done.ceiling,
    )
    print(json.dumps(dataclasses.asdict(run)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main, sys.argv[1]))
