"""Locks that end with the process that holds them."""

from __future__ import annotations

import fcntl
from typing import IO, Any


def try_lock(file: IO[Any] | int) -> bool:
    """Take the lock of an open file or folder; False where another process has it.

    On a disk that knows no locks the answer is True: nothing protects there.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
