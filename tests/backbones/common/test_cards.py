"""What NVIDIA's libraries say of a card; the libraries are stand-ins."""

import ctypes
import os

import pytest

from backbones.common import cards
from backbones.common.cards import Look

GIB = 1 << 30


class Driver:
    """CUDA's driver with one device."""

    def cuInit(self, flags):
        return 0

    def cuDeviceGet(self, handle, device):
        return 0 if device == 0 else 101

    def cuDeviceTotalMem_v2(self, total, handle):
        total._obj.value = 100 * GIB
        return 0

    def cuDeviceGetPCIBusId(self, name, length, device):
        name.value = b"0000:65:00.0"
        return 0


class Nvml:
    """The management library; ``missing`` are calls that fail."""

    def __init__(self, mig=False, missing=()):
        self.mig, self.missing = mig, missing

    def nvmlDeviceGetHandleByPciBusId_v2(self, name, handle):
        return 0 if name.value == b"0000:65:00.0" else 2

    def nvmlDeviceGetMigMode(self, handle, current, pending):
        current._obj.value = int(self.mig)
        return 0 if self.mig else 3  # not supported

    def nvmlDeviceGetMemoryInfo(self, handle, memory):
        memory._obj.used = 7 * GIB
        return 1 if "memory" in self.missing else 0

    def nvmlDeviceGetUtilizationRates(self, handle, load):
        load._obj.gpu = 42
        return 1 if "load" in self.missing else 0


@pytest.mark.parametrize(
    ("nvml", "expected"),
    [
        (Nvml(), Look(100 * GIB, 7 * GIB, 0.42)),
        (Nvml(missing=["load"]), Look(100 * GIB, 7 * GIB, 0.0)),
        (Nvml(missing=["memory"]), Look(100 * GIB, 0, 0.0)),
        (Nvml(mig=True), Look(100 * GIB, 0, 0.0)),
        (None, Look(100 * GIB, 0, 0.0)),
    ],
)
def test_a_look_has_what_the_libraries_report(nvml, expected, monkeypatch):
    monkeypatch.setattr(cards, "cuda_driver", lambda: Driver())
    monkeypatch.setattr(cards, "_nvml", lambda: nvml)
    cards._managed.cache_clear()
    assert cards.look(0) == expected
    assert cards.look(1) is None
    cards._managed.cache_clear()


def test_without_a_driver_there_is_nothing_to_look_at(monkeypatch):
    monkeypatch.setattr(cards, "cuda_driver", lambda: None)
    assert cards.look(0) is None


def test_the_structures_have_the_sizes_of_nvidias():
    assert ctypes.sizeof(cards._Memory) == 24
    assert ctypes.sizeof(cards._Utilisation) == 8


def test_mps_is_on_where_its_daemon_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not cards.mps_is_on()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text(f"{os.getpid()}\n")
    assert not cards.mps_is_on(), "it takes no orders"
    os.mkfifo(tmp_path / "control")
    assert cards.mps_is_on()
    (tmp_path / "nvidia-cuda-mps-control.pid").write_text("999999999")
    assert not cards.mps_is_on(), "it has died"
