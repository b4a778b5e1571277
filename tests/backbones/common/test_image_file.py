"""What decoding an image takes is known before it begins."""

import io
import shutil
import struct
import subprocess
import sys
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from backbones.common.image_file import (
    FORMATS,
    MAX_PIXELS,
    MAX_SCANNED,
    read_image,
    require_bounded,
)
from backbones.common.regular_file import UnfitFile

SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif"}


def picture(form, size=(40, 30), **options):
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, form, **options)
    return file.getvalue()


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_decoded_whatever_its_name(form, tmp_path):
    path = write(tmp_path / "a.jpg", picture(form))
    assert read_image(path).size == (40, 30)
    assert require_bounded(path) == path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
def test_photographs_that_encoders_make_are_read(options, tmp_path):
    path = write(tmp_path / "a.jpg", picture("JPEG", (400, 300), **options))
    assert read_image(path).size == (400, 300)


def test_a_preview_inside_of_a_photograph_is_no_scan_of_it(tmp_path):
    preview = picture("JPEG", (16, 16), progressive=True)
    exif = b"Exif\0\0" + preview * 20
    path = write(tmp_path / "a.jpg", picture("JPEG", exif=exif))
    assert read_image(path).size == (40, 30)


def progressive(width, height, scans):
    """A JPEG whose every further scan says anew that one coefficient of each block is zero."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    end = content.rindex(b"\xff\xd9")
    start = content.rindex(b"\xff\xda")
    return content[:end] + content[start:end] * scans + content[end:]


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused_at_once(tmp_path):
    path = write(tmp_path / "a.jpg", progressive(7000, 7000, 2000))
    began = time.process_time()
    with pytest.raises(UnfitFile, match="scans of 7000 × 7000 pixels"):
        read_image(path)
    with pytest.raises(UnfitFile, match="scans"):
        require_bounded(path)
    assert time.process_time() - began < 1


def test_ten_scans_of_the_largest_image_are_within_the_bound():
    assert 10 * MAX_PIXELS < MAX_SCANNED


def png_of(width, height):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer, rows = zlib.compressobj(9), []
    for _ in range(height):
        rows.append(packer.compress(bytes(width + 1)))
    body = b"".join(rows) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_few_bytes_of_many_pixels_are_refused_by_the_header(tmp_path):
    path = write(tmp_path / "a.png", png_of(9000, 9000))
    assert path.stat().st_size < 100_000
    with pytest.raises(UnfitFile, match="9000 × 9000 pixels"):
        read_image(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(marker) (w) file\n%%EOF\n"


def test_an_eps_named_jpg_starts_no_ghostscript(tmp_path, monkeypatch):
    def started(*command, **_):
        raise AssertionError(f"{command} was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/gs")
    with pytest.raises(UnfitFile, match="not an image of a known format"):
        read_image(write(tmp_path / "a.jpg", EPS))


def tiff(**options):
    return picture("TIFF", (64, 64), **options)


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_usual_tiffs_are_read(packing, tmp_path):
    assert read_image(write(tmp_path / "a.tif", tiff(compression=packing))).size == (64, 64)


def test_a_tiff_that_holds_a_jpeg_is_refused(tmp_path):
    with pytest.raises(UnfitFile, match="compressed by jpeg"):
        read_image(write(tmp_path / "a.tif", tiff(compression="jpeg")))


def test_a_tiff_of_a_million_strips_is_refused_before_they_are_listed(tmp_path):
    content = bytearray(tiff())
    (place,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, place)
    for number in range(entries):
        at = place + 2 + 12 * number
        if struct.unpack_from("<H", content, at)[0] == 273:
            struct.pack_into("<I", content, at + 4, 1_000_000)
    with pytest.raises(UnfitFile, match="1,000,000 strips"):
        read_image(write(tmp_path / "a.tif", bytes(content) + bytes(4_000_000)))


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", [b"aaAa", b"IDAT", b"tEXt"])
def test_a_png_of_a_million_chunks_is_refused_at_once(kind, tmp_path):
    whole = picture("PNG")
    at = whole.index(b"IDAT") - 4
    path = tmp_path / "a.png"
    read_image(write(path, whole[:at] + chunk(kind) * 1000 + whole[at:]))
    write(path, whole[:at] + chunk(kind) * 1_000_000 + whole[at:])
    began = time.process_time()
    with pytest.raises(UnfitFile, match="131,072 chunks"):
        read_image(path)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "content", [b"", b"x", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"\xff\xd8\xff"]
)
def test_stumps_are_sentences(content, tmp_path):
    with pytest.raises(UnfitFile, match=str(tmp_path)):
        read_image(write(tmp_path / "a.jpg", content))


@pytest.mark.slow
def test_the_largest_image_takes_no_more_than_the_page_on_security_says(tmp_path):
    """In a process of its own, whose peak is its own."""
    side = int(MAX_PIXELS**0.5)
    path = write(tmp_path / "a.png", png_of(side, side))
    code = (
        "import sys, time, resource\nfrom pathlib import Path\n"
        "from backbones.common.image_file import read_image\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "began = time.process_time(); read_image(Path(sys.argv[1])).convert('RGB')\n"
        "print(time.process_time() - began)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    seconds, kib = map(float, done.stdout.split())
    assert seconds < 10
    assert kib < 700 << 10


def test_opencv_reads_what_was_let_through(tmp_path):
    for form in FORMATS:
        content = require_bounded(write(tmp_path / f"a.{SUFFIXES[form]}", picture(form)))
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (30, 40, 3)
