"""Peak memory of a training, and messages for exhausted memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from backbones.common.errors import OutOfMemory
from backbones.runtime.allocation import give_freed_memory_back

_UNITS = {"bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_REQUEST = re.compile(r"allocate (\d+(?:\.\d+)?) ?(bytes|KiB|MiB|GiB)")
_NO_PLAN = "unable to find an engine to execute this computation"
_GPU_FAILED = ("CUDA error: out of memory", "STATUS_ALLOC_FAILED", _NO_PLAN)  # CUBLAS_…, CUDNN_…
_HOST_FAILED = ("can't allocate memory", "Cannot allocate memory", "not enough memory")


class PeakMemory:
    """Measures peak memory of this process from now on: on the host and on its CUDA device.

    Freed memory that the process kept is returned first, so that it does not count. On the host,
    only Linux can reset the peak; other systems report nothing.
    """

    def __init__(self) -> None:
        give_freed_memory_back()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def peaks(self) -> dict[str, int]:
        """Peak bytes by place, ``"host"`` and ``"gpu"``; unknown ones are left out."""
        found = {}
        if peak := _own("VmHWM"):
            found["host"] = peak
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.max_memory_reserved()
        return found


def is_exhausted(error: BaseException, has_run: bool = False) -> bool:
    """Whether an error means exhausted memory, on the host or on a GPU.

    Args:
        error: What was raised.
        has_run: Whether the same computation succeeded before. torch raises the same error for a
            convolution without memory for its plan and for one that cuDNN does not support.
    """
    if isinstance(error, MemoryError):
        return True
    if _is_of_gpu(error):
        return has_run or _NO_PLAN not in str(error)
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _HOST_FAILED)


def place(error: BaseException) -> str:
    """Whose memory an error of :func:`is_exhausted` means: ``"gpu"`` or ``"host"``."""
    return "gpu" if _is_of_gpu(error) else "host"


def _is_of_gpu(error: BaseException) -> bool:
    """CUDA's libraries bypass torch's allocator and fail with a different error."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _GPU_FAILED)


def explained(error: BaseException, batch: int, further: Sequence[str] = ()) -> OutOfMemory:
    """The message for an error of :func:`is_exhausted`.

    Args:
        error: What was raised.
        batch: Images per step on this device.
        further: Further advice.
    """
    if _is_of_gpu(error):
        where, peak = "the GPU", torch.cuda.max_memory_allocated()
    else:
        where, peak = "this machine", _own("VmHWM")
    otherwise = ["use --precision bfloat16 or several GPUs per run (torchrun)", *further]
    return OutOfMemory(
        f"Memory of {where} ran out: a batch of {batch} needs over "
        f"{(peak + _asked_for(error)) / 1e9:.1f} GB. The last checkpoint is kept. "
        'Lower the batch size (in a suite: [overrides] "train_dataloader.batch_size"; that is '
        "another protocol, with its own table), run fewer --jobs, or, with the same batch, "
        f"{', or '.join(otherwise)}.",
        place(error),
    )


def _asked_for(error: BaseException) -> int:
    """Bytes that could not be allocated; 0 if the error does not state them."""
    found = _REQUEST.search(str(error))
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def _own(key: str) -> int:
    """A memory figure of this process in bytes; 0 if the system does not report it."""
    with contextlib.suppress(OSError):
        text = Path("/proc/self/status").read_text(encoding="utf-8")
        if found := re.search(rf"^{key}:\s*(\d+) kB$", text, re.MULTILINE):
            return 1024 * int(found[1])
    return 0
