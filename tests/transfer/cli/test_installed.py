"""Doctor imports what it calls ok, and knows which torch drives a GPU."""

import importlib.util
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from backbones.common import hardware
from backbones.common.libraries import HEADLESS
from transfer.cli import installed


def test_a_package_that_cannot_be_imported_is_not_ok(tmp_path, monkeypatch):
    shutil.copytree(Path(importlib.util.find_spec("cv2").origin).parent, tmp_path / "cv2")
    (tmp_path / "fatal.py").write_text("import os\nos._exit(3)\n")
    (tmp_path / "checked.py").write_text(
        "from backbones.common.errors import UserError\nraise UserError('mmdet lacks a name.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    modules = {"numpy": "numpy", "onedl-mmcv": "fatal", "opencv-python-headless": "cv2",
               "nobodys-package": "nobodys_package", "pillow": "PIL",
               "transfer-bench": "checked"}  # fmt: skip
    monkeypatch.setattr(installed, "_MODULES", modules)
    found = {one.what: one for one in installed.packages()}
    states = [one.state for one in found.values()]
    assert states == ["ok", "missing", "missing", "missing", "ok", "missing"]
    assert found["transfer-bench"].advice == "mmdet lacks a name."
    assert HEADLESS in found["opencv-python-headless"].advice
    assert "ended the process" in found["onedl-mmcv"].advice
    assert found["nobodys-package"].found == "not installed"


class Driver:
    """NVIDIA's driver as far as it is asked: one GPU, a version of CUDA, a compute capability."""

    def __init__(self, cuda, capability):
        self.cuda, self.capability = cuda, capability

    def cuInit(self, flags):
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = 1000 * self.cuda + 20
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):
        value._obj.value = self.capability[0 if attribute == 75 else 1]
        return 0


@pytest.fixture
def machine(monkeypatch):
    """Pretends a driver, a GPU and a build of torch."""
    cached = (hardware.cuda_devices, hardware.driver_devices, hardware.driver_cuda,
              hardware.torch_cuda)  # fmt: skip

    def forget():
        for function in cached:
            function.cache_clear()

    def pretend(cuda, capability, torch_cuda, kernels=()):
        forget()
        monkeypatch.setattr(hardware, "cuda_driver", lambda: Driver(cuda, capability))
        monkeypatch.setattr(hardware, "torch_cuda", lambda: torch_cuda)
        pool = SimpleNamespace(submit=lambda _: SimpleNamespace(result=lambda: list(kernels)))
        monkeypatch.setattr(installed.child_processes, "pool", lambda _: _Context(pool))

    yield pretend
    monkeypatch.undo()
    forget()


class _Context:
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize(
    ("cuda", "capability", "torch_cuda", "state", "advice"),
    [
        (13, (9, 0), 13, "ok", ""),
        (12, (9, 0), 13, "note", "torch<2.11"),
        (12, (6, 1), 13, "note", "torch==2.6.0"),
        (11, (8, 0), 13, "note", "whl/cu118"),
        (13, (9, 0), 0, "note", "--force-reinstall torch"),
        (10, (6, 1), 12, "note", "update NVIDIA's driver"),
        (13, (6, 1), 13, "note", "torch==2.6.0"),
    ],
)
def test_a_gpu_that_this_torch_cannot_drive_names_the_torch_that_can(
    machine, monkeypatch, cuda, capability, torch_cuda, state, advice
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine(cuda, capability, torch_cuda, ["sm_75", "sm_80", "sm_90", "compute_90"])
    found = installed.gpu()
    assert found.state == state
    assert advice in found.advice
    usable = torch_cuda and cuda >= torch_cuda
    assert hardware.cuda_devices() == int(bool(usable)), "a plan uses no GPU that torch cannot"


@pytest.mark.parametrize(
    ("kernels", "capability", "runs"),
    [
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (9, 0), True),
        (["sm_90a"], (9, 0), True),
        (["sm_100", "sm_120"], (12, 0), True),
        (["compute_120"], (7, 5), False),
    ],
)
def test_binaries_run_within_a_major_version_and_ptx_on_all_later_ones(kernels, capability, runs):
    assert installed.fit(kernels, capability) == runs


def test_the_cuda_of_the_installed_torch_is_read_without_importing_it():
    import torch

    expected = int(torch.version.cuda.split(".")[0]) if torch.version.cuda else 0
    assert hardware.torch_cuda() == expected
