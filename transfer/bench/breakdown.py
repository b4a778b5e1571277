"""Breakdown of a fine-tuning's wall time, measured alike for both sides of a pair."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

PARTS = ("start_up", "load", "forward", "backward", "step", "evaluate", "other")


class Stopwatch:
    """Seconds of each part; a part inside another counts for the outer one.

    Only the main thread counts; work of other threads in parallel takes no time.

    Attributes:
        seconds: Seconds of each part.
        updates: Times at which the optimizer finished an update of the weights.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.updates: list[float] = []
        self._running = False

    @contextlib.contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the time inside for a part."""
        if self._running:
            yield
            return
        self._running = True
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - started
            self._running = False

    @contextlib.contextmanager
    def watching_openmmlab(self) -> Iterator[None]:
        """Time every MMEngine runner inside, whichever loop, wrapper or loader it has.

        The metric's own time is part of the evaluation; laying out a batch, hooks and everything
        in between is "other".
        """
        from mmengine.model import BaseModel
        from mmengine.optim import OptimWrapper
        from mmengine.runner import ValLoop
        from torch.utils.data.dataloader import _BaseDataLoaderIter

        from backbones.runtime.ahead import Ahead

        watched = (
            (_BaseDataLoaderIter, "__next__", "load"),
            (Ahead, "__next__", "load"),
            (BaseModel, "_run_forward", "forward"),
            (OptimWrapper, "backward", "backward"),
            (OptimWrapper, "step", "step"),
            (OptimWrapper, "zero_grad", "step"),
            (ValLoop, "run", "evaluate"),
        )
        with contextlib.ExitStack() as stack:
            for owner, name, part in watched:
                original = getattr(owner, name)
                setattr(owner, name, self._timed(original, part))
                stack.callback(setattr, owner, name, original)
            yield

    @property
    def steps(self) -> list[float]:
        """Seconds from each update of the weights to the next."""
        return [after - before for before, after in itertools.pairwise(self.updates)]

    def _timed(self, function: Any, part: str) -> Any:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            with self.time(part):
                result = function(*args, **kwargs)
            if function.__name__ == "step":
                self.updates.append(time.monotonic())
            return result

        return timed


def completed(parts: Mapping[str, float], whole: float) -> dict[str, float]:
    """Seconds of each part, with the rest of the total as ``other``."""
    known = {part: parts.get(part, 0.0) for part in PARTS if part != "other"}
    return {**known, "other": whole - sum(known.values())}
