"""Memory and load of this machine's GPUs, as NVIDIA's driver reports them.

Nothing here creates a context on a GPU, which would take half a gigabyte of its memory. Devices
have the numbers that CUDA gives them, so ``CUDA_VISIBLE_DEVICES`` is respected.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.hardware import cuda_driver
from backbones.common.regular_file import read_text

_PCI_LETTERS = 32
_PID_BYTES = 32
_MPS_PIPES = "/tmp/nvidia-mps"  # NVIDIA's default of CUDA_MPS_PIPE_DIRECTORY


@dataclass(frozen=True)
class Look:
    """A GPU at one moment.

    Attributes:
        total: Bytes of its memory.
        used: Bytes in use by all processes; 0 if the driver does not report them.
        busy: Share of the last moments in which it computed, 0 to 1; 0 if unknown.
    """

    total: int
    used: int
    busy: float


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Utilisation(ctypes.Structure):
    """``nvmlUtilization_t``, in percent."""

    _fields_ = [(name, ctypes.c_uint) for name in ("gpu", "memory")]


def look(device: int) -> Look | None:
    """Memory and load of a GPU, given its number from 0; None if the driver does not know it."""
    driver, handle, total = cuda_driver(), ctypes.c_int(), ctypes.c_size_t()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(handle), device):
        return None
    if driver.cuDeviceTotalMem_v2(ctypes.byref(total), handle):
        return None
    memory, load = _Memory(), _Utilisation()
    nvml, managed = _nvml(), _managed(device)
    if nvml is None or managed is None:
        return Look(total.value, 0, 0.0)
    if nvml.nvmlDeviceGetMemoryInfo(managed, ctypes.byref(memory)):
        return Look(total.value, 0, 0.0)
    if nvml.nvmlDeviceGetUtilizationRates(managed, ctypes.byref(load)):
        return Look(total.value, memory.used, 0.0)
    return Look(total.value, memory.used, load.gpu / 100)


def mps_is_on() -> bool:
    """Whether the daemon of NVIDIA's MPS serves this machine: processes then compute together.

    Without it, they take turns on a GPU.
    """
    pipes = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS_PIPES)
    with suppress(OSError, ValueError, UserError):
        process = int(read_text(pipes / "nvidia-cuda-mps-control.pid", _PID_BYTES))
        return Path(f"/proc/{process}").exists() and (pipes / "control").exists()
    return False


@cache
def _nvml() -> ctypes.CDLL | None:
    """NVIDIA's management library, started; None without it."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return None if library.nvmlInit_v2() else library


@cache
def _managed(device: int) -> ctypes.c_void_p | None:
    """The management library's handle of a device; None for a part of a GPU (MIG)."""
    driver, nvml = cuda_driver(), _nvml()
    name, handle = ctypes.create_string_buffer(_PCI_LETTERS), ctypes.c_void_p()
    if driver is None or nvml is None or driver.cuDeviceGetPCIBusId(name, _PCI_LETTERS, device):
        return None
    if nvml.nvmlDeviceGetHandleByPciBusId_v2(name, ctypes.byref(handle)):
        return None
    parts = ctypes.c_uint()
    pending = ctypes.c_uint()
    mig = nvml.nvmlDeviceGetMigMode(handle, ctypes.byref(parts), ctypes.byref(pending))
    return None if mig == 0 and parts.value else handle
