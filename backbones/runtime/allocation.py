"""Memory that stays with the process, and objects that nobody need look at again.

glibc gives large blocks back to the kernel at once, and the kernel clears every page of the next
one: on the CPU a tenth of a step. Results depend on neither.
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
    """Ask the C library to keep freed blocks of up to a GiB for this process.

    Returns:
        Whether it will; other libraries than glibc are left as they are.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST) and mallopt(_TRIM_THRESHOLD, _MOST))


def give_freed_memory_back() -> None:
    """Give back what was kept, on the host and on the GPU: what comes next is another's.

    A runner holds itself in circles, and with them its model.
    """
    freeze_what_is_imported()  # else it would be walked, for a third of a second
    gc.collect()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _of_glibc(name: str) -> Any:
    """A function of the C library; None where that is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError, AttributeError):
        return getattr(ctypes.CDLL("libc.so.6"), name)
    return None


@functools.cache
def freeze_what_is_imported() -> None:
    """Let the garbage collector pass over what this process holds by now, once.

    Hundreds of thousands of objects of the libraries, which are never garbage: looking at them
    takes a third of a second, and MMEngine asks for it with every data set that it builds. At the
    end they are let go: libraries in C++ tell of objects that are still held then as leaks.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)
