"""Peak memory of a training, and messages for exhausted memory."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backbones.common.errors import UserError
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


@dataclass(frozen=True)
class Need:
    """The memory that a training step needs, in bytes.

    Attributes:
        batch: Images per step.
        fixed: Independent of the batch: weights, gradients, momenta, libraries.
        peak: Lower bound for this batch.
    """

    batch: int
    fixed: int
    peak: int

    def fitting(self, available: int) -> int:
        """The largest batch that fits, if the rest is proportional to the number of images.

        Always smaller than the batch that did not fit; 0 if not even the fixed part fits.
        """
        each = max(1, self.peak - self.fixed) / self.batch
        return max(0, min(self.batch - 1, int((available - self.fixed) // each)))


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


def _is_of_gpu(error: BaseException) -> bool:
    """CUDA's libraries bypass torch's allocator and fail with a different error."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _GPU_FAILED)


def explained(
    error: BaseException, model: nn.Module, batch: int, further: Sequence[str] = ()
) -> UserError:
    """The message for an error of :func:`is_exhausted`.

    Args:
        error: What was raised.
        model: The model that was trained.
        batch: Images per step on this device.
        further: Further advice.
    """
    on_gpu = _is_of_gpu(error)
    held = _weights(model)
    if on_gpu:
        available, peak, fixed = _gpu_available(), torch.cuda.max_memory_allocated(), held
    else:
        available, peak = host_available(), _own("VmHWM")
        fixed = max(held, _own("VmRSS") - max(0, peak - _own("VmRSS")))
    need = Need(batch, min(fixed, peak), peak + _asked_for(error))
    place = "the GPU" if on_gpu else "this machine"
    fits = need.fitting(available)
    advice = (
        f"a batch of {fits} would fit by this estimate"
        if fits
        else "not even a batch of 1 would fit by this estimate: use smaller images or networks"
    )
    otherwise = ["use --precision bfloat16 or several GPUs per run (torchrun)", *further]
    return UserError(
        f"Memory ran out: a batch of {batch} needs over {_gigabytes(need.peak)} GB, "
        f"{_gigabytes(need.fixed)} of them for any batch, and {place} has "
        f"{_gigabytes(available)} for this process; {advice}. The last checkpoint is kept. "
        'Lower the batch size (in a suite: [overrides] "train_dataloader.batch_size"; that is '
        "another protocol, with its own table), run fewer --jobs, or, with the same batch, "
        f"{', or '.join(otherwise)}."
    )


def host_available() -> int:
    """Bytes available to this process: its own, and what the machine or its limits leave."""
    memory = _kilobytes(Path("/proc/meminfo"), "MemAvailable") + _own("VmRSS")
    bounds = [memory, *_control_group()]
    with contextlib.suppress(ImportError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            bounds.append(limit)
    return min(bounds)


def _control_group() -> list[int]:
    """The memory limit of a container, if there is one."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return [int(Path(path).read_text(encoding="ascii"))]
    return []


def _gpu_available() -> int:
    """Bytes available to this process on its GPU."""
    if not torch.cuda.is_available():
        return 0
    return torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()


def _weights(model: Any) -> int:
    """Bytes of the weights, and of gradients and momenta of the trained ones."""
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    return buffers + sum((3 if p.requires_grad else 1) * p.nbytes for p in model.parameters())


def _asked_for(error: BaseException) -> int:
    """Bytes that could not be allocated; 0 if the error does not state them."""
    found = _REQUEST.search(str(error))
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def _own(key: str) -> int:
    """A memory figure of this process in bytes; 0 if the system does not report it."""
    return _kilobytes(Path("/proc/self/status"), key)


def _kilobytes(path: Path, key: str) -> int:
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8")
        if found := re.search(rf"^{key}:\s*(\d+) kB$", text, re.MULTILINE):
            return 1024 * int(found[1])
    return 0


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f}"
