"""Checks of the installation: which packages import, and which GPUs torch can use."""

from __future__ import annotations

import contextlib
import io
import warnings
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.libraries import remedy
from backbones.common.versions import version_of
from backbones.runtime import child_processes

OK, NOTE, BAD = "ok", "note", "missing"
_MODULES = {  # each needs only those before it
    "numpy": "numpy",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "opencv-python-headless": "cv2",
    "onedl-mmengine": "mmengine",
    "onedl-mmcv": "mmcv",
    "onedl-mmdetection": "mmdet",
    "onedl-mmsegmentation": "mmseg",
    "pycocotools": "pycocotools.mask",
    "transfer-bench": "transfer.openmmlab",
}
_INSTALL = "pip install -e . in the checkout"
_OF_CUDA_12 = "python -m pip install 'torch<2.11' 'torchvision<0.26'"
_OF_OLD_GPUS = "python -m pip install torch==2.6.0 torchvision==0.21.0"
_OF_CUDA_11 = f"{_OF_OLD_GPUS} --index-url https://download.pytorch.org/whl/cu118"
_OF_THIS_MONTH = "python -m pip install --force-reinstall torch torchvision"


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor's screen.

    Attributes:
        what: What was checked.
        state: ``"ok"``, ``"note"`` or ``"missing"``.
        found: What was found.
        advice: How to fix it; empty if nothing is wrong.
    """

    what: str
    state: str
    found: str
    advice: str = ""


def packages() -> list[Diagnosis]:
    """Each package with its version, or the reason why it cannot be imported.

    Another process imports them, since one of them may end its process.
    """
    faults = _faults()
    return [_package(name, version_of(name), faults[name]) for name in _MODULES]


def _package(name: str, version: str, fault: str) -> Diagnosis:
    if not version:
        return Diagnosis(name, BAD, "not installed", _INSTALL)
    if not fault:
        return Diagnosis(name, OK, version)
    return Diagnosis(name, BAD, f"{version}, but it cannot be imported", fault)


def _faults() -> dict[str, str]:
    """The reason for each package that cannot be imported; empty for the others."""
    faults: dict[str, str] = {}
    waiting = list(_MODULES)
    while waiting:
        with child_processes.pool(1) as one:
            try:
                while waiting:
                    faults[waiting[0]] = one.submit(_fault, _MODULES[waiting[0]]).result()
                    waiting.pop(0)
            except BrokenProcessPool:
                faults[waiting.pop(0)] = f"its import ended the process; run {_INSTALL} again"
    return faults


def _fault(module: str) -> str:
    """The reason why a module cannot be imported; empty if it can."""
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import_module(module)
        except UserError as error:  # of this project's own check of the toolboxes
            return str(error)
        except Exception as error:
            return remedy(error) or f"{type(error).__name__}: {error}"
    return ""


def gpu() -> Diagnosis:
    """The GPUs that torch can use; for one that it cannot, the torch version that could."""
    count, offered = hardware.cuda_devices(), hardware.driver_devices()
    if count:
        return _with_kernels(count)
    if not offered:
        if Path("/dev/nvidia0").exists():
            return Diagnosis(
                "GPU",
                NOTE,
                "a GPU without a driver",
                "install NVIDIA's driver, or start the container with --gpus all",
            )
        return Diagnosis(
            "GPU",
            NOTE,
            "none",
            "protocol 'quick' needs no GPU; 'paper' and 'openmmlab' need one",
        )
    newest, built_for = hardware.driver_cuda(), hardware.torch_cuda()
    if built_for and newest >= built_for:
        return Diagnosis("GPU", NOTE, "hidden by CUDA_VISIBLE_DEVICES", "unset it to use the GPU")
    build = f"built for CUDA {built_for}" if built_for else "a CPU build"
    found = f"{offered}, but torch is {build} and the driver supports CUDA {newest}"
    return Diagnosis("GPU", NOTE, found, torch_for(newest, hardware.compute_capability()))


def torch_for(cuda: int, capability: tuple[int, int]) -> str:
    """The command that installs a torch version that fits a driver and a GPU.

    PyPI's torch 2.11 is the first built for CUDA 13. Torch 2.8 is the first without kernels for
    GPUs older than Turing.

    Args:
        cuda: Major version of the newest CUDA that the driver supports.
        capability: The GPU's compute capability.
    """
    if cuda < 11:
        return "update NVIDIA's driver: no torch that this project supports is old enough"
    if cuda == 11:
        return _OF_CUDA_11
    if capability < (7, 5):
        return _OF_OLD_GPUS
    return _OF_CUDA_12 if cuda == 12 else _OF_THIS_MONTH


def _with_kernels(count: int) -> Diagnosis:
    """The GPUs that torch can address, if it has kernels for them."""
    devices = f"{count} CUDA device{'s' if count > 1 else ''}"
    with child_processes.pool(1) as one:
        kernels = one.submit(_kernels).result()
    for device in range(count):
        capability = hardware.compute_capability(device)
        if kernels and not fit(kernels, capability):
            return Diagnosis(
                "GPU",
                NOTE,
                f"{devices}, one with compute capability {capability[0]}.{capability[1]}, for "
                "which "
                "this torch has no kernels",
                torch_for(hardware.driver_cuda(), capability),
            )
    return Diagnosis("GPU", OK, devices)


def _kernels() -> list[str]:
    """Architectures of torch's kernels, such as ``sm_90``; empty if torch does not report them."""
    import torch

    # torch.cuda.get_arch_list() is empty if the driver is too old; a CPU build lacks the flags.
    flags = getattr(torch._C, "_cuda_getArchFlags", str)()
    return (flags or "").split()


def fit(kernels: list[str], capability: tuple[int, int]) -> bool:
    """Whether one of torch's kernels runs on a GPU.

    Args:
        kernels: ``sm_<major><minor>`` for binaries, ``compute_<major><minor>`` for PTX.
        capability: The GPU's compute capability.
    """
    for kernel in kernels:
        kind, _, digits = kernel.partition("_")
        digits = digits.rstrip("af")
        built_for = int(digits[:-1]), int(digits[-1])
        if built_for <= capability and (kind == "compute" or built_for[0] == capability[0]):
            return True
    return False
