"""Messages for faults of long trainings: disks, memory, killed workers.

In all cases the last checkpoint is kept, and the same command resumes from it.
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

from backbones.common.errors import OutOfMemory, UserError
from backbones.runtime import loader_workers, memory

_KILLED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) "
    r"(?:exited|is killed(?P<memory> by signal: Killed)?)"
)
_PINNING = "Pin memory thread exited"  # message of a loader whose thread could not fetch a batch
_NO_DESCRIPTOR = ("Too many open files", "received 0 items of ancdata")  # torch's words; Python's
_DISK = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "has no space left in your quota",
    errno.EROFS: "is read-only",
    errno.EACCES: "does not allow you to write",
    errno.EIO: "does not respond",
    errno.EFBIG: "does not accept a file of this size",
}


@contextlib.contextmanager
def explained(runner: Any) -> Iterator[None]:
    """Turn faults of a training into error messages.

    Args:
        runner: MMEngine's runner, whose training or evaluation runs inside.

    Raises:
        UserError: A disk is full or read-only, memory ran out, a loader worker ended, or too many
            files are open. Other exceptions are unchanged.
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
            which = f" (process {killed[1].strip()})"
            raise _lost_worker(which, OutOfMemory if killed["memory"] else UserError) from error
        if _was_handing_over(error) or _PINNING in str(error):
            raise _lost_worker() from error
        if any(words in str(error) for words in _NO_DESCRIPTOR):
            raise UserError(f"Too many files are open. {loader_workers.advice()}") from error
        if memory.is_exhausted(error, has_run=runner.iter > 0):
            raise memory.explained(error, _batch(runner), _advice(runner)) from error
        raise


def _was_handing_over(error: Exception) -> bool:
    """Whether a worker, or the socket that delivers its batches, is gone."""
    unnamed = isinstance(error, FileNotFoundError) and error.filename is None
    return unnamed or isinstance(error, ConnectionError | EOFError)


def leave_dead_readers_to_the_loader() -> None:
    """Remove torch's handler of dead children, which a loader with workers installs.

    The handler raises in whatever code is running, even while a checkpoint is written, and again
    for every child process that ends. The loader checks its workers itself, every five seconds
    while it waits, and raises where the error can be reported.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@HOOKS.register_module()
class DeadReaders(Hook):
    """Lets the loader handle dead workers, as soon as there is one."""

    def before_train_iter(self, *_: Any, **__: Any) -> None:
        """Training."""
        leave_dead_readers_to_the_loader()

    before_val_iter = before_train_iter


def disk_fault(error: OSError, folder: object) -> UserError:
    """The message for a disk that cannot be written."""
    why = _DISK.get(error.errno or 0, error.strerror or str(error))
    return UserError(
        f"The disk of '{error.filename or folder}' {why}; the last checkpoint is kept. Free some "
        "space or choose another --work-dir, and run again to resume."
    )


def _lost_worker(which: str = "", kind: type[UserError] = UserError) -> UserError:
    return kind(
        f"A loader worker{which} was killed or ended unexpectedly. The system kills one when "
        "memory, or shared memory in a container (--shm-size), runs out; one ends when no more "
        "files may be opened (ulimit -n). The last checkpoint is kept: run again to resume, with "
        'fewer loader workers (in a suite: [overrides] "train_dataloader.num_workers") or fewer '
        "--jobs if it happens again."
    )


def _advice(runner: Any) -> list[str]:
    """Advice from hooks that use memory and have a ``memory_advice``."""
    advisers = (getattr(hook, "memory_advice", None) for hook in runner.hooks)
    return [advice for adviser in advisers if adviser and (advice := adviser(runner))]


def _batch(runner: Any) -> int:
    """Images per step on this device."""
    loader = runner.train_dataloader
    built = getattr(loader, "batch_sampler", None)
    return int(built.batch_size if built is not None else loader["batch_size"])
