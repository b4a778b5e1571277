"""The hardware of this machine, found without importing torch."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from backbones.common.errors import UserError

PRECISIONS = ("float32", "bfloat16")
_NONE = ("-1", "NoDevFiles")  # values that ask for no GPU
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


@cache
def cuda_devices() -> int:
    """Number of CUDA devices that the installed torch can use."""
    built_for = torch_cuda()
    if not built_for or driver_cuda() < built_for:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return min(driver_devices(), len([name for name in visible.split(",") if name.strip()]))
    return driver_devices()


@cache
def driver_devices() -> int:
    """Number of GPUs that NVIDIA's driver reports, whether or not torch can use them."""
    count = ctypes.c_int()
    driver = cuda_driver()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


@cache
def driver_cuda() -> int:
    """Major version of the newest CUDA that NVIDIA's driver supports; 0 without a driver."""
    version = ctypes.c_int()
    driver = cuda_driver()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)):
        return 0
    return version.value // 1000


@cache
def torch_cuda() -> int:
    """Major version of the CUDA that the installed torch is built for; 0 for a build without."""
    try:
        place = metadata.distribution("torch").locate_file("torch/version.py")
        text = Path(str(place)).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError):
        return 0
    built_for = re.search(r"^cuda\b.*=\s*'(\d+)", text, re.MULTILINE)
    return int(built_for[1]) if built_for else 0


@cache
def cuda_driver() -> ctypes.CDLL | None:
    """NVIDIA's driver library; None without it."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def require_asked_gpus() -> None:
    """Check that every GPU in CUDA_VISIBLE_DEVICES exists.

    Raises:
        UserError: One does not; the driver would silently ignore it and all that follow.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    asked = [name.strip() for name in visible.split(",") if name.strip()]
    if asked and asked[0] not in _NONE and cuda_devices() < len(asked):
        raise UserError(
            f"CUDA_VISIBLE_DEVICES asks for GPU {', '.join(asked)}, but only {cuda_devices()} of "
            "them can be used here ('nvidia-smi' lists the GPUs); change the list, or unset it."
        )


@cache
def cuda_names() -> tuple[str, ...]:
    """Names of the usable CUDA devices."""
    names = []
    for index in range(cuda_devices()):
        name = ctypes.create_string_buffer(256)
        ctypes.CDLL("libcuda.so.1").cuDeviceGetName(name, len(name), index)
        names.append(name.value.decode())
    return tuple(names)


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's feature flags as Linux lists them; empty elsewhere."""
    return frozenset(_cpu_field("flags").split())


@cache
def cpu_name() -> str:
    """The CPU's model name, with family and model where Linux reports them.

    A virtual machine often gives processors of several generations the same name.
    """
    name, family, model = map(_cpu_field, ("model name", "cpu family", "model"))
    name = name or platform.processor() or platform.machine()
    return f"{name}, family {family}, model {model}" if family and model else name


def _cpu_field(key: str) -> str:
    """The value of a field of ``/proc/cpuinfo``; empty if it is absent."""
    match = re.search(rf"^{key}\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    return match.group(1).strip() if match else ""


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_workers() -> int:
    """Number of loader workers of one training: a GPU's share of the cores, at most 8.

    0 without a GPU, where all cores compute.
    """
    gpus = cuda_devices()
    return min(8, cpu_cores() // gpus) if gpus else 0


def fast_precision() -> str:
    """``"bfloat16"`` where it is fast: NVIDIA Ampere or later, CPUs with AVX512-BF16 or AMX."""
    if cuda_devices():
        return "bfloat16" if compute_capability()[0] >= 8 else "float32"
    return "bfloat16" if cpu_flags() & {"avx512_bf16", "amx_bf16"} else "float32"


def compute_capability(device: int = 0) -> tuple[int, int]:
    """Major and minor compute capability of a CUDA device, given its number from 0."""
    driver, found = cuda_driver(), (ctypes.c_int(), ctypes.c_int())
    assert driver
    for value, attribute in zip(found, _CAPABILITY, strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    return found[0].value, found[1].value


def available_memory() -> int:
    """Bytes of memory that new processes here may use; 0 if the system does not report it.

    The limit of a container counts as a whole, whatever is in use already.
    """
    bounds = []
    with suppress(OSError, ValueError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        bounds += [1024 * int(found[1]) for found in re.finditer(r"MemAvailable:\s*(\d+)", text)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            bounds.append(int(Path(path).read_text(encoding="ascii")))
    return min(bounds, default=0)


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
