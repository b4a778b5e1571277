"""How much memory a training took at its peak."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch


class PeakMemory:
    """Peaks of this process from now on: on the host, and on its CUDA device.

    On the host the peak can be counted anew on Linux only; elsewhere nothing is told.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, int]:
        """Bytes by place, ``"host"`` and ``"gpu"``; what is not known is left out."""
        told = {}
        with contextlib.suppress(OSError):
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            if found := re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE):
                told["host"] = 1024 * int(found.group(1))
        if torch.cuda.is_available():
            told["gpu"] = torch.cuda.max_memory_reserved()
        return told
