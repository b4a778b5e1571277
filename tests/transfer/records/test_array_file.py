"""Files of arrays: as they were saved, or a sentence before anything is unpacked."""

import io
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from backbones.common.errors import UserError
from backbones.common.regular_file import UnfitFile
from transfer.records import outcomes
from transfer.records.array_file import read_arrays


def write(path, pack=np.savez, **arrays):
    with path.open("wb") as file:
        pack(file, **arrays)
    return path


AREAS = {name: np.ones((2, 3), np.uint8) for name in ("intersection", "predicted", "labelled")}
WHOLE = {"images": np.array(["a", "b"]), **AREAS}


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(pack, tmp_path):
    found = read_arrays(write(tmp_path / "a.npz", pack, **WHOLE))
    assert found.keys() == WHOLE.keys()
    assert all(np.array_equal(found[name], WHOLE[name]) for name in WHOLE)


def bomb(rows):
    """Zeros that hardly take room in the file, and eight times their own room where widened."""
    return {"images": np.array(["a"]), **{n: np.zeros((rows, 1000), np.uint8) for n in AREAS}}


def test_zeros_that_would_fill_the_memory_are_refused_by_their_headers(tmp_path):
    path = write(tmp_path / "a.npz", np.savez_compressed, **bomb(100_000))
    assert path.stat().st_size < 1 << 20
    began = time.process_time()
    with pytest.raises(UnfitFile, match=r"2,400,000,0\d\d bytes"):
        outcomes.read(path, "segmentation")
    assert time.process_time() - began < 1


def test_a_header_that_claims_more_than_the_archive_is_a_sentence(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 24,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", file.getvalue())
    with pytest.raises(UnfitFile, match="not a complete NumPy archive"):
        read_arrays(tmp_path / "a.npz")


def test_an_archive_of_a_million_names_is_refused_before_they_are_listed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(2000):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(UnfitFile, match="too many arrays"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("images", np.array([1, 2])),
        ("images", np.array(["a", "b"], object)),
        ("images", np.array("a")),
        ("predicted", np.zeros((2, 3), "V8")),
        ("predicted", np.zeros((2, 3), "u1, u1")),
        ("predicted", np.zeros((2, 3))),
        ("predicted", np.zeros((2, 3), complex)),
        ("predicted", np.zeros((2, 3), "datetime64[s]")),
        ("predicted", np.full((2, 3), -1)),
        ("predicted", np.full((2, 3), 2**64 - 1, np.uint64)),
        ("predicted", np.zeros(6, int)),
    ],
    ids=str,
)
def test_odd_types_of_areas_are_sentences(name, odd, tmp_path):
    path = write(tmp_path / "a.npz", **{**WHOLE, name: odd})
    with pytest.raises(UserError, match=str(tmp_path)):
        outcomes.read(path, "segmentation")


BOXES = {
    "images": np.array(["a"]),
    "positives": np.ones((1, 2), int),
    "image": np.zeros(1, int),
    "label": np.zeros(1, int),
    "score": np.ones(1),
    "correct": np.ones(1, bool),
    "ignored": np.zeros(1, bool),
}


@pytest.mark.parametrize(
    ("name", "odd"),
    [
        ("image", np.zeros(1)),
        ("label", np.array([0.5])),
        ("score", np.array([np.nan])),
        ("score", np.array(["high"])),
        ("correct", np.ones(1, int)),
        ("image", np.array([5])),
        ("image", np.zeros((1, 1), int)),
    ],
    ids=str,
)
def test_odd_types_of_detections_are_sentences(name, odd, tmp_path):
    assert outcomes.read(write(tmp_path / "a.npz", **BOXES), "detection").score.tolist() == [1.0]
    path = write(tmp_path / "a.npz", **{**BOXES, name: odd})
    with pytest.raises(UserError, match=str(tmp_path)):
        outcomes.read(path, "detection")


def test_what_is_no_file_is_a_sentence(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(UserError, match="a folder"):
        outcomes.read(tmp_path / "a.npz", "detection")
    with pytest.raises(UserError, match="no per-image results"):
        outcomes.read(tmp_path / "b.npz", "detection")


@pytest.mark.slow
def test_the_largest_file_takes_no_more_than_the_page_on_security_says(tmp_path):
    """In a process of its own, whose peak is its own."""
    arrays = {"images": np.array([str(n) for n in range(22_000)])}
    arrays |= {name: np.zeros((22_000, 1000), np.uint8) for name in AREAS}
    path = write(tmp_path / "a.npz", np.savez_compressed, **arrays)
    code = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from transfer.records import outcomes\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "outcomes.read(Path(sys.argv[1]), 'segmentation')\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    assert int(done.stdout) < 700 << 10
