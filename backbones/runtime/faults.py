"""What happens to trainings that run for days, told in a sentence: disks, memory, killed helpers.

Whatever it is, the last state is kept and the same command goes on from it.
"""

from __future__ import annotations

import contextlib
import errno
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from backbones.common.errors import UserError
from backbones.runtime import loader_workers, memory

_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (?:exited|is killed)")
_PINNING = "Pin memory thread exited"  # what a loader says whose own thread could not take a batch
_NO_DESCRIPTOR = ("Too many open files", "received 0 items of ancdata")  # torch's words; Python's
_DISK = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "has no room left for you",
    errno.EROFS: "can only be read",
    errno.EACCES: "may not be written by you",
    errno.EIO: "does not answer",
    errno.EFBIG: "takes no file of this size",
}


@contextlib.contextmanager
def explained(runner: Any) -> Iterator[None]:
    """Turn the faults that a training meets into sentences.

    Args:
        runner: MMEngine's, whose training or evaluation runs inside.

    Raises:
        UserError: A disk is full or read-only, memory has run out, a loader worker has ended, or
            too many files are open. Everything else is raised as it is.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, MemoryError, RuntimeError, EOFError) as error:
        leave_dead_readers_to_the_loader()
        if isinstance(error, OSError) and error.errno in _DISK:
            raise disk_fault(error, runner.work_dir) from error
        if killed := _KILLED.search(str(error)):
            raise _lost_worker(f" (process {killed[1].strip()})") from error
        if _was_handing_over(error) or _PINNING in str(error):
            raise _lost_worker() from error
        if any(words in str(error) for words in _NO_DESCRIPTOR):
            raise UserError(f"Too many files are open. {loader_workers.advice()}") from error
        if memory.is_exhausted(error, has_run=runner.iter > 0):
            raise memory.explained(error, runner.model, _batch(runner), _advice(runner)) from error
        raise


def _was_handing_over(error: Exception) -> bool:
    """Whether a worker, or the socket that it hands batches over by, is gone."""
    unnamed = isinstance(error, FileNotFoundError) and error.filename is None
    return unnamed or isinstance(error, ConnectionError | EOFError)


def leave_dead_readers_to_the_loader() -> None:
    """Take away torch's handler of dead children, which a loader with workers installs.

    It raises in whatever runs just then, be it the writing of a state or the printing of a
    traceback, and again with every child process that ends. The loader looks for its workers
    itself, every five seconds that it waits for them, and raises where it can be told.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@HOOKS.register_module()
class DeadReaders(Hook):
    """Leaves readers that die to the loader, once there is one."""

    def before_train_iter(self, *_: Any, **__: Any) -> None:
        """Training."""
        leave_dead_readers_to_the_loader()

    before_val_iter = before_train_iter


def disk_fault(error: OSError, folder: object) -> UserError:
    """The sentence for a disk that does not take what is written."""
    why = _DISK.get(error.errno or 0, error.strerror or str(error))
    return UserError(
        f"The disk of '{error.filename or folder}' {why}; the last state is kept. Make room or "
        "choose another --work-dir, and run again to go on."
    )


def _lost_worker(which: str = "") -> UserError:
    return UserError(
        f"A loader worker{which} was killed or ended unexpectedly. The system kills one when "
        "memory, or shared memory in a container (--shm-size), runs out; one ends when no more "
        "files may be opened (ulimit -n). The last checkpoint is kept: run again to resume, with "
        'fewer loader workers (in a suite: [overrides] "train_dataloader.num_workers") or fewer '
        "--jobs if it happens again."
    )


def _advice(runner: Any) -> list[str]:
    """What hooks that hold memory of their own, by their ``memory_advice``, tell to do about it."""
    told = (getattr(hook, "memory_advice", None) for hook in runner.hooks)
    return [advice for tell in told if tell and (advice := tell(runner))]


def _batch(runner: Any) -> int:
    """Images a step on this device."""
    loader = runner.train_dataloader
    built = getattr(loader, "batch_sampler", None)
    return int(built.batch_size if built is not None else loader["batch_size"])
