"""Memory that stays with the process, and objects that nobody need look at again.

glibc gives large blocks back to the kernel at once, and the kernel clears every page of the next
one: on the CPU a tenth of a step. Results depend on neither.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks of up to a GiB for this process.

    Returns:
        Whether it will; other libraries than glibc are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST) and mallopt(_TRIM_THRESHOLD, _MOST))


@functools.cache
def freeze_what_is_imported() -> None:
    """Let the garbage collector pass over what this process holds by now, once.

    Hundreds of thousands of objects of the libraries, which are never garbage: looking at them
    takes a third of a second, and MMEngine asks for it with every data set that it builds. At the
    end they are let go: libraries in C++ tell of objects that are still held then as leaks.
    """
    gc.freeze()
    atexit.register(gc.unfreeze)
