"""Keeps freed memory in the process, and exempts imported objects from garbage collection.

glibc returns large blocks to the kernel at once, and the kernel clears every page of the next
block. On the CPU this takes a tenth of a step. Neither affects results.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import sys
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks of up to 1 GiB in this process.

    Returns:
        Whether it will; only glibc is changed.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST) and mallopt(_TRIM_THRESHOLD, _MOST))


def give_freed_memory_back() -> None:
    """Return the memory that was kept, on the host and on the GPU.

    A runner is part of reference cycles, which also hold its model.
    """
    freeze_what_is_imported()  # otherwise the collector visits it, for a third of a second
    gc.collect()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _of_glibc(name: str) -> Any:
    """A function of glibc; None for other C libraries."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL("libc.so.6"), name)
    return None


@functools.cache
def freeze_what_is_imported() -> None:
    """Exempt all current objects from garbage collection, once.

    Libraries hold hundreds of thousands of objects that never become garbage. Visiting them takes a
    third of a second, and MMEngine runs a collection for every data set. They are released at exit,
    because C++ libraries report objects that are still held as leaks.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)
