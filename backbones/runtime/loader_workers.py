"""Ends the training when a loader worker cannot deliver a batch.

A worker pickles a batch in a thread of its queue. A failure there is only printed and the batch is
lost, so torch waits for ever. The same happens if the thread that passes on file descriptors cannot
accept connections; it prints tracebacks in a loop. Both failures are reported to the training.
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
    """Make a loader's workers report failures to deliver batches.

    Args:
        loader: A loader that has not been iterated over.

    Returns:
        The same loader; its next batch raises :class:`UserError` if a worker fails.
    """
    if loader.num_workers:
        socket_folder.shorten()
        loader.multiprocessing_context = _context()
        loader.worker_init_fn = partial(_begin, loader.worker_init_fn)
    return loader


def advice() -> str:
    """The requirements of passing batches, as a part of a message."""
    return (
        f"Batches pass through shared memory and a socket in '{tempfile.gettempdir()}': see that "
        "/dev/shm has room (--shm-size in a container), that TMPDIR is a short path that can be "
        "written, and that the limit of open files (ulimit -n) is not reached; or load without "
        'workers (in a suite: [overrides] "train_dataloader.num_workers" = 0). The last checkpoint '
        "is kept: run again to resume."
    )


class _ReportingQueue(Queue):
    """A queue that passes on a pickling failure in place of the batch."""

    def _on_queue_feeder_error(self, error: Exception, batch: Any) -> None:
        if not isinstance(batch, tuple):  # pickled but not sent: there is no receiver
            _end(type(error), error, error.__traceback__)
        failure = UserError(
            f"A loader worker could not hand over a batch ({type(error).__name__}: {error}). "
            + advice()
        )
        self.put((batch[0], ExceptionWrapper((UserError, failure, None), "in a loader worker")))


class _ReportsFailures:
    """A context of :mod:`multiprocessing` with such queues."""

    def Queue(self, maxsize: int = 0) -> _ReportingQueue:
        return _ReportingQueue(maxsize, ctx=self)


def _context() -> Any:
    kind = type(multiprocessing.get_context())
    return type("LoaderContext", (_ReportsFailures, kind), {})()


def _begin(begin: Any, number: int) -> None:
    """Start a worker; only the thread that passes on descriptors calls the hook."""
    sys.excepthook = _end
    if begin:
        begin(number)


def _end(kind: Any, error: Any, trace: Any) -> None:
    """End this worker at once; the loader will notice."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)
