from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.voc_xml import XML
from transfer.datasets import readers
from transfer.datasets.coco_json import read_coco
from transfer.datasets.readers import (
    BadFile,
    VocObject,
    check_image,
    illegal_values,
    read_mask,
    read_voc_xml,
)

FIXTURE = Path(__file__).parents[3] / "../shared/data/fixtures"
property_test = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_annotation_is_read_as_the_toolbox_reads_it(path: Path) -> None:
    path.write_text(XML)
    annotation = read_voc_xml(path)
    assert (annotation.width, annotation.height) == (500, 375)
    assert annotation.objects == [
        VocObject("person", (45, 1, 300, 375), difficult=False),
        VocObject("dog", (8, 7, 10, 9), difficult=True),
    ]


@pytest.mark.parametrize("flag", ["0.0597", "Unspecified", "", "-1"])
def test_a_flag_that_nothing_reads_may_be_anything(path: Path, flag: str) -> None:
    path.write_text(XML.replace("<truncated>1<", f"<truncated>{flag}<", 1))
    assert read_voc_xml(path).objects[0] == VocObject("person", (45, 1, 300, 375), difficult=False)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "ascii", "utf-8-sig"])
def test_encodings(path: Path, encoding: str) -> None:
    said = encoding.removesuffix("-sig")
    path.write_bytes(f'<?xml version="1.0" encoding="{said}"?>{XML}'.encode(encoding))
    assert len(read_voc_xml(path).objects) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</annotation>", "", "not well-formed"),
        ("<annotation>", "<annotation>\0", "not well-formed"),
        ("<annotation>", "<!DOCTYPE a><annotation>", "document type 'a'"),
        ("<width>500</width>", "", "no width in its size"),
        ("<width>500</width>", "<width>0</width>", "the size 0 × 375"),
        ("<width>500</width>", "<width>wide</width>", "the width 'wide'"),
        ("<xmax>300</xmax>", "", "no xmax in its person"),
        ("<xmax>300</xmax>", "<xmax>nan</xmax>", "the xmax 'nan'"),
        ("<xmax>300</xmax>", "<xmax>-1e400</xmax>", "the xmax '-1e400'"),
        ("<xmax>300</xmax>", "<xmax>1e9</xmax>", "the xmax '1e9'"),
        ("<name>person</name>", "", "object without a name"),
        ("<difficult>1</difficult>", "<difficult>2</difficult>", "difficult '2', which is not 0"),
        ("<pose>Left</pose>", "<p>" * 20 + "</p>" * 20, "more than 16 nested"),
    ],
)
def test_annotations_that_are_refused(path: Path, old: str, new: str, said: str) -> None:
    path.write_text(XML.replace(old, new, 1))
    with pytest.raises(BadFile, match=said) as caught:
        read_voc_xml(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == path


def test_entities_are_never_expanded(path: Path) -> None:
    levels = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    path.write_text(f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><annotation>&e9;</annotation>')
    with pytest.raises(BadFile, match="could contain entities"):
        read_voc_xml(path)
    path.write_text('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>')
    with pytest.raises(BadFile, match="could contain entities"):
        read_voc_xml(path)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "long").write_bytes(b" " * (readers.MAX_XML_BYTES + 1))
    for name, said in (
        ("none", "does not exist"),
        ("pipe", "is a named pipe, not a regular file"),
        (".", "is a folder, not a regular file"),
        ("empty", "is empty"),
        ("long", "more than the 1,048,576 bytes"),
        ("\0", "is not a valid file name"),
    ):
        with pytest.raises(BadFile, match=said):
            read_voc_xml(tmp_path / name)


@property_test
@given(content=st.binary(max_size=400))
def test_any_bytes_are_an_annotation_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tolerate(read_voc_xml, path)


@property_test
@given(data=st.data())
def test_changed_annotations_are_read_or_an_error(path: Path, data: st.DataObject) -> None:
    content = XML.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 60)))
        word = st.sampled_from(
            [b"<object>", b"</object>", b"<name>", b"&#0;", b"&amp;", b"<![CDATA["]
        )
        content = content[:start] + data.draw(st.binary(max_size=4) | word) + content[end:]
    path.write_bytes(content)
    annotation = tolerate(read_voc_xml, path)
    for thing in annotation.objects if annotation else ():
        assert thing.name
        assert all(isinstance(edge, int) and abs(edge) <= 10**6 for edge in thing.box)


def tolerate(read, path: Path):  # type: ignore[no-untyped-def]
    """A reader's value, or None where it raised the project's own error and no other."""
    try:
        return read(path)
    except BadFile:
        return None


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "1", "I;16", "LA")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("BMP", mode) for mode in ("RGB", "L")),
    ],
)
def test_images_are_decoded(path: Path, form: str, mode: str) -> None:
    Image.new(mode, (7, 5)).save(path, form)
    assert check_image(path) == (7, 5, mode)


def test_image_is_measured_upright(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (7, 5)).save(path, "JPEG", exif=exif)
    assert check_image(path) == (5, 7, "RGB")


def test_image_bomb_is_refused_by_its_header(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels)
    with pytest.raises(BadFile, match="9000 × 9000 pixels; at most 67,108,864"):
        check_image(path)
    header = struct.pack(">IIBBBBB", 90000, 90000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels)
    with pytest.raises(BadFile, match="more than the 67,108,864 pixels"):
        check_image(path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    found = {}
    for form in ("JPEG", "PNG", "WEBP", "BMP"):
        path = tmp_path_factory.mktemp("pictures") / form
        noise.save(path, form)
        found[form] = path.read_bytes()
    return found


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_image_that_is_cut_short(path: Path, pictures: dict[str, bytes], form: str) -> None:
    path.write_bytes(pictures[form][: len(pictures[form]) // 2])
    with pytest.raises(BadFile, match=r"does not decode|no image"):
        check_image(path)


@property_test
@given(data=st.data(), form=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]))
def test_changed_images_and_masks_are_read_or_an_error(
    path: Path, pictures: dict[str, bytes], data: st.DataObject, form: str
) -> None:
    content = bytearray(pictures[form])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(
            st.integers(0, 255)
        )
    path.write_bytes(content)
    tolerate(check_image, path)
    tolerate(read_mask, path)


@property_test
@given(content=st.binary(max_size=200))
def test_any_bytes_are_an_image_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tolerate(check_image, path)
    tolerate(read_mask, path)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_mask_is_its_indices(path: Path, mode: str) -> None:
    values = np.array([[0, 1, 20], [255, 7, 7]], np.uint8)
    mask = Image.fromarray(values, "L")
    if mode == "P":
        mask = Image.fromarray(values, "P")
        mask.putpalette([value % 256 for value in range(768)])
    mask.save(path, "PNG")
    assert read_mask(path).tolist() == values.tolist()


@pytest.mark.parametrize("mode", ["RGB", "1", "I;16", "LA"])
def test_mask_of_another_kind(path: Path, mode: str) -> None:
    Image.new(mode, (3, 2)).save(path, "PNG")
    with pytest.raises(BadFile, match="one channel of 8 bits"):
        read_mask(path)


def test_illegal_values() -> None:
    values = [0, 1, 2, 3, 254, 255]
    assert illegal_values(values, 2, 255, zero_is_ignored=False) == [2, 3, 254]
    assert illegal_values(values, 2, 255, zero_is_ignored=True) == [3, 254]
    assert illegal_values(values, 2, 3, zero_is_ignored=False) == [2, 254, 255]


def test_error_survives_the_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(BadFile(Path("a/b.xml"), "is empty")))
    assert (error.path, error.reason) == (Path("a/b.xml"), "is empty")
    assert str(error).startswith(f"'{Path('a/b.xml').absolute()}' is empty; ")


@property_test
@given(
    content=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["images", "annotations", "categories", "id", "bbox"]), inner
            )
        ),
    ).map(lambda value: repr(value).encode())
    | st.sampled_from([b"[" * 100_000, b'{"images": 1}', b"1" * 5000])
)
def test_any_bytes_are_coco_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tolerate(read_coco, path)


@pytest.mark.skipif(not FIXTURE.is_dir(), reason="the real VOC and ADE20K fixtures are not here")
def test_real_files() -> None:
    annotations = sorted((FIXTURE / "VOCdevkit/VOC2007/Annotations").iterdir())
    for xml in annotations:
        annotation = read_voc_xml(xml)
        image = FIXTURE / f"VOCdevkit/VOC2007/JPEGImages/{xml.stem}.jpg"
        assert check_image(image) == (annotation.width, annotation.height, "RGB")
        assert annotation.objects
    for mask in (FIXTURE / "ade20k/annotations/validation").iterdir():
        values = read_mask(mask)
        image = FIXTURE / f"ade20k/images/validation/{mask.stem}.jpg"
        assert check_image(image)[1::-1] == values.shape
        assert illegal_values(np.unique(values).tolist(), 150, 255, zero_is_ignored=True) == []
