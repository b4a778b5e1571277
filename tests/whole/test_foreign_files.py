"""Whatever the bytes of a file are, its reader gives a value or the project's own error."""

import contextlib
import struct
import time
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backbones.common.errors import UserError
from backbones.common.torch_file import read_torch_file
from tests.support.foreign_files import READERS, read_content, zip_of
from transfer.datasets.readers import check_image


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr("backbones.runtime.checkpoint.print_log", lambda *_, **__: None)


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_are_changed_below_are_read_as_they_are(name, tmp_path):
    for seed in READERS[name].seeds:
        read_content(READERS[name], seed, tmp_path)


@st.composite
def changed(draw, seeds, words):
    """A valid file with a few places overwritten, cut out, repeated or filled with a word."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 30)))
        patch = st.binary(max_size=8) | st.just(bytes(content[at:end]) * 2)
        content[at:end] = draw(patch | st.sampled_from(words) if words else patch)
    return bytes(content)


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=40,
    deadline=None,  # it counts seconds of the clock, and others may compute on this machine
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_changed_files_are_values_or_sentences(name, tmp_path, data):
    reader = READERS[name]
    content = data.draw(changed(reader.seeds, reader.words) | st.binary(max_size=100))
    tracemalloc.start()
    began = time.process_time()
    try:
        with contextlib.suppress(UserError):
            read_content(reader, content, tmp_path)
    finally:
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < reader.megabytes << 20
    assert took < 20


FOUND = {
    "a classifier suite whose rows are lists": (
        "classifier-suite",
        b'kind = "classification"\nrows = [[]]',
    ),
    "a classifier suite whose seeds are a number": (
        "classifier-suite",
        b'kind = "classification"\nrows = ["resnet18_baseline"]\nseeds = 1',
    ),
    "a number of more digits than Python converts": (
        "suite",
        b'kind = "transfer"\na = ' + b"9" * 5000,
    ),
    "a setting that is a date": (
        "suite",
        b'kind = "transfer"\nrows = ["a"]\n[overrides]\nx = 1979-05-27',
    ),
    "a data set whose detection is a number": (
        "data-set",
        b'name = "a"\nroot = "."\ndetection = 5',
    ),
    "a data set whose root is a number": ("data-set", b'name = "a"\nroot = 5'),
    "a data set with a byte 0 in a path": ("data-set", b'name = "a"\nroot = "\\u0000"'),
    "a data set with a folder elsewhere": (
        "data-set",
        b'name = "a"\nroot = "."\n[detection]\nclasses = ["a"]\n'
        b'train = [{folder = "/", split = "a"}]\ntest = [{folder = "/a", split = "b"}]',
    ),
    "a data set in the home of nobody": ("data-set", b'name = "a"\nroot = "~nobody-at-all/x"'),
    "a data set with a name too long": ("data-set", b'name = "a"\nroot = "' + b"x" * 300 + b'"'),
    "a backbone whose top-1 is a text": ("backbone", b'architecture = "resnet18"\ntop1 = "high"'),
    "an archive with an entry without a name": (
        "archive",
        zip_of({"x": b""}).replace(b"x", b"\0"),
    ),
    "a classifier's record of no epochs": ("classifier-record", None),
    "a probe that nests too deep": ("probe", b"[" * 100_000),
    "metadata whose mean is a text": ("safetensors-header", None),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_stays_mended(what, tmp_path):
    name, content = FOUND[what]
    reader = READERS[name]
    if content is None:
        (seed,) = reader.seeds
        old, new = {
            "classifier-record": (b'"epochs": 2', b'"epochs": 0'),
            "safetensors-header": (b'\\"mean\\": [123.68', b'\\"mean\\": ["12.68'),
        }[name]
        assert old in seed
        content = seed.replace(old, new)
    with contextlib.suppress(UserError):
        read_content(reader, content, tmp_path)


def listed(values):
    return ("[" + ",".join(values) + "]").encode()


SUITE = b'kind = "transfer"\nrows = ["a"]\n'
QUADRATIC = {
    "a suite of 100,000 seeds": (
        "suite",
        lambda: SUITE + b"seeds=" + listed(map(str, range(10**5))),
    ),
    "a suite of 100,000 values of a setting": (
        "suite",
        lambda: SUITE + b'[vary]\n"a.b"=' + listed(map(str, range(10**5))),
    ),
    "a suite of two values of 60 settings": (
        "suite",
        lambda: SUITE + b"[vary]\n" + b"".join(b'"a.b%d" = [1, 2]\n' % i for i in range(60)),
    ),
    "a suite with a key of 900,000 letters": ("suite", lambda: SUITE + b"a" * 900_000 + b"=1"),
    "a classifier suite of 100,000 seeds": (
        "classifier-suite",
        lambda: (
            b'kind = "classification"\nrows = ["resnet18_baseline"]\nseeds='
            + listed(map(str, range(10**5)))
        ),
    ),
    "a data set of 80,000 classes": (
        "data-set",
        lambda: (
            b"[detection]\nclasses="
            + listed(f'"c{i}"' for i in range(80_000))
            + b"\ntrain=[{folder='a',split='b'}]\ntest=[{folder='a',split='b'}]"
        ),
    ),
    "a data set with a class of 400,000 letters and another like it": (
        "data-set",
        lambda: (
            b"[detection]\nclasses=['"
            + b"ab" * 200_000
            + b"', 'c']\nheadline_classes=['"
            + b"ba" * 200_000
            + b"']\ntrain=[{folder='a',split='b'}]\ntest=[{folder='a',split='b'}]"
        ),
    ),
}


@pytest.mark.parametrize("what", QUADRATIC)
def test_a_megabyte_never_takes_the_square_of_its_time(what, tmp_path):
    name, content = QUADRATIC[what]
    read_content(READERS[name], READERS[name].seeds[0], tmp_path)  # imports
    began = time.process_time()
    with contextlib.suppress(UserError):
        read_content(READERS[name], content(), tmp_path)
    assert time.process_time() - began < 5


def test_a_small_file_never_costs_the_most_that_a_large_one_may(tmp_path):
    """COCO's may have 1 GiB; so much was once made room for before the file was looked at."""
    reader = READERS["coco"]
    tracemalloc.start()
    read_content(reader, reader.seeds[0], tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_bitmap_of_few_bytes_that_claims_many_pixels_is_refused_at_once(tmp_path):
    head = struct.pack("<2sIII", b"BM", 62, 0, 62)
    sizes = struct.pack("<IiiHHIIiiII", 40, 8000, 8000, 1, 8, 1, 0, 0, 0, 2, 0)  # run-length coded
    path = tmp_path / "a.bmp"
    path.write_bytes(head + sizes + bytes(8) + b"\x00\x01")
    began = time.process_time()
    with pytest.raises(UserError, match="run-length encoded BMP"):
        check_image(path)
    assert time.process_time() - began < 1


def test_a_tensor_that_torchs_older_form_claims_larger_than_its_file_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    honest = path.read_bytes()
    claimed = honest.replace(b"K\x02N", b"J\xff\xff\xff\x7fN", 1)  # its number of elements
    assert claimed != honest
    path.write_bytes(claimed)
    with pytest.raises(UserError, match="2147483647 elements in a file of"):
        read_torch_file(path)
