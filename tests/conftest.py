"""What several tests share: small real data and a small real network."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, a core each


@pytest.fixture(autouse=True)
def no_scope_of_another_test() -> None:
    """A runner leaves its toolbox behind as the one whose registries are looked in first."""
    if "mmengine" in sys.modules:
        from mmengine.registry import DefaultScope

        DefaultScope._instance_dict.clear()


@pytest.fixture(autouse=True)
def unformatted_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stock runner formats its config as Python five times, each of which takes a second."""
    if "mmengine" in sys.modules:
        monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, True))


@pytest.fixture
def checks_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks before the first run happen in this process, which has imported what they need."""
    from backbones.runtime import child_processes

    monkeypatch.setattr(child_processes, "pool", ThreadPoolExecutor)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the tests' own, with a small sample in it."""
    from tests.support.small_sample import SIZES
    from transfer.datasets import sample

    folder = tmp_path_factory.mktemp("cache")
    sample.draw_sample(
        folder / "sample",
        sizes=SIZES,
    )
    return folder


@pytest.fixture
def small_sample(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small sample in the place of the built-in one."""
    from tests.support.small_sample import SIZES
    from transfer.datasets.sample import writer

    monkeypatch.setenv("TRANSFER_CACHE", str(cache))
    monkeypatch.setattr(writer, "SIZES", SIZES)
    return cache / "sample"


@pytest.fixture(scope="session")
def real_files() -> Path:
    """Ten images of VOC2007 and three of ADE20K, which are not part of the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "fixtures"
    folder = Path(os.environ.get("TRANSFER_FIXTURES") or beside)
    if not (folder / "VOCdevkit").is_dir():
        pytest.skip(f"the real images are not at '{folder}'; TRANSFER_FIXTURES says where they are")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """An empty working directory, with the tests' own cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFER_CACHE", str(cache))
    return tmp_path
