"""A library that is installed and cannot be loaded is one sentence with the command that helps."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backbones.common.libraries import HEADLESS, remedy

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def broken_cv2(tmp_path_factory):
    """A folder with an OpenCV whose own libraries are not where it looks for them."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copytree(Path(importlib.util.find_spec("cv2").origin).parent, folder / "cv2")
    return folder


def test_an_opencv_that_lacks_a_library_is_one_sentence_in_any_command(broken_cv2):
    code = (
        "import sys\nfrom backbones.runtime.command import guarded\n"
        "def command(given):\n    import cv2\n"
        "sys.exit(guarded(command, None))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(broken_cv2), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: opencv-python cannot be imported: this machine has no 'lib")
    assert HEADLESS in line


def test_other_libraries_name_the_package_and_the_file():
    error = ImportError(
        "libgomp.so.1: cannot open shared object file: No such file or directory", name="sklearn"
    )
    assert "'sklearn'" in remedy(error)
    assert "'libgomp.so.1'" in remedy(error)


def test_a_torchvision_of_another_torch_names_the_index():
    assert "download.pytorch.org" in remedy(
        RuntimeError("operator torchvision::nms does not exist")
    )


@pytest.mark.parametrize(
    "error",
    [ImportError("cannot import name 'x' from 'cv2'", name="cv2"), RuntimeError("CUDA error"),
     OSError("lib.so: cannot open shared object file")],
)  # fmt: skip
def test_a_defect_stays_one(error):
    assert remedy(error) == ""
