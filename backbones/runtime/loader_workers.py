"""Loader workers that fail to hand over a batch end the training instead of leaving it waiting.

A worker pickles a batch in a thread of its queue, where a failure is printed and the batch lost:
torch then waits for it for ever. So does a worker whose thread that passes on file descriptors can
accept no connection, which prints a traceback as fast as it can. Both are told to the training.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from functools import partial
from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader

from backbones.common.errors import UserError
from backbones.runtime import socket_folder


def guard(loader: DataLoader) -> DataLoader:
    """Make a loader's workers tell what goes wrong as they hand over batches.

    Args:
        loader: Not iterated over yet.

    Returns:
        The same loader; its next batch raises :class:`UserError` where a worker fails.
    """
    if loader.num_workers:
        socket_folder.shorten()
        loader.multiprocessing_context = _context()
        loader.worker_init_fn = partial(_begin, loader.worker_init_fn)
    return loader


def advice() -> str:
    """What handing over a batch needs, as the rest of a message."""
    return (
        f"Batches pass through shared memory and a socket in '{tempfile.gettempdir()}': see that "
        "/dev/shm has room (--shm-size in a container), that TMPDIR is a short path that can be "
        "written, and that the limit of open files (ulimit -n) is not reached; or load without "
        'workers (in a suite: [overrides] "train_dataloader.num_workers" = 0). The last checkpoint '
        "is kept: run again to resume."
    )


class _TellingQueue(Queue):
    """A queue that passes on the failure to pickle a batch in the batch's place."""

    def _on_queue_feeder_error(self, error: Exception, batch: Any) -> None:
        if not isinstance(batch, tuple):  # pickled, and not sent: nobody is there to be told
            _end(type(error), error, error.__traceback__)
        told = UserError(
            f"A loader worker could not hand over a batch ({type(error).__name__}: {error}). "
            + advice()
        )
        self.put((batch[0], ExceptionWrapper((UserError, told, None), "in a loader worker")))


class _TellsFailures:
    """A context of :mod:`multiprocessing` with such queues."""

    def Queue(self, maxsize: int = 0) -> _TellingQueue:
        return _TellingQueue(maxsize, ctx=self)


def _context() -> Any:
    kind = type(multiprocessing.get_context())
    return type("LoaderContext", (_TellsFailures, kind), {})()


def _begin(begin: Any, number: int) -> None:
    """The start of a worker; only the thread that passes on descriptors calls the hook."""
    sys.excepthook = _end
    if begin:
        begin(number)


def _end(kind: Any, error: Any, trace: Any) -> None:
    """End this worker at once; the loader notices."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)
