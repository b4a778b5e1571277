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
from backbones.runtime import memory

_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (?:exited|is killed)")
_PINNING = "Pin memory thread exited"  # what a loader says whose own thread could not take a batch
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
        UserError: A disk is full or read-only, memory has run out, or a process that reads images
            was killed. Everything else is raised as it is.
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
            raise _lost_reader(f" (number {killed[1].strip()})") from error
        handing_over = isinstance(error, ConnectionError | EOFError)
        if handing_over or _PINNING in str(error):  # it died while it handed over an image
            raise _lost_reader() from error
        if memory.is_exhausted(error, has_run=runner.iter > 0):
            raise memory.explained(error, runner.model, _batch(runner), _advice(runner)) from error
        raise


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


def _lost_reader(which: str = "") -> UserError:
    return UserError(
        f"A process that reads images{which} was killed. The system does that "
        "when memory, or shared memory in a container (--shm-size), runs out. The last state is "
        "kept: run again to go on, with fewer loader workers (in a suite: [overrides] "
        '"train_dataloader.num_workers") or fewer --jobs if it happens again.'
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
