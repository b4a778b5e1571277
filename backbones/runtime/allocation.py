"""Memory that a training frees and takes again in every step stays with the process.

glibc gives large blocks back to the kernel at once, and the kernel clears every page of the next
one: on the CPU a tenth of a step. Results do not depend on it.
"""

from __future__ import annotations

import ctypes
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
