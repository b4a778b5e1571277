from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from backbones.common.errors import UserError
from transfer.datasets import catalogue, prepare, unpack, voc_aug
from transfer.datasets.catalogue import Archive
from transfer.datasets.prepare import prepare_archives

FILES = {"VOCdevkit/VOC2007/JPEGImages/1.jpg": b"image", "VOCdevkit/VOC2007/1.txt": b"1\n"}
MOST = 10**6


def pack(path: Path, files: dict[str, bytes], *odd: tarfile.TarInfo) -> Path:
    """A tar, tar.gz or zip archive, by its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            archive.addfile(entry(name, size=len(content)), io.BytesIO(content))
        for one in odd:
            archive.addfile(one)
    return path


def entry(name: str, **said: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in said.items():
        setattr(info, key, value)
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def silent(what: str, done: int, total: int | None) -> None:
    pass


@pytest.mark.parametrize("suffix", ["tar", "tgz", "zip"])
def test_unpacks_what_is_wanted(tmp_path: Path, suffix: str) -> None:
    archive = pack(tmp_path / f"a.{suffix}", {**FILES, "__MACOSX/x": b"", "./VOCdevkit/2": b"two"})
    steps: list[int] = []

    unpack.unpack(
        archive, into=tmp_path / "out", most=MOST, progress=lambda done, _: steps.append(done)
    )
    assert tree(tmp_path / "out") == {**FILES, "__MACOSX/x": b"", "VOCdevkit/2": b"two"}
    assert steps[-1] == 10

    unpack.unpack(
        archive, into=tmp_path / "some", most=MOST, wanted=("VOCdevkit/VOC2007/", "VOCdevkit/3")
    )
    assert tree(tmp_path / "some") == FILES


@pytest.mark.parametrize("suffix", ["tar", "tgz", "zip"])
@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "VOCdevkit/../../evil", "a\\..\\evil", "VOCdevkit/\x1b[2Jevil"]
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    archive = pack(tmp_path / f"a.{suffix}", {**FILES, name: b"evil"})
    refused(archive, tmp_path, "is not a plain path", wanted=("VOCdevkit/",))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (entry("VOCdevkit/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "holds a link"),
        (entry("VOCdevkit/x", type=tarfile.LNKTYPE, linkname="../../evil"), "holds a link"),
        (entry("VOCdevkit/x", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "something other"),
        (entry("VOCdevkit/x", type=tarfile.FIFOTYPE), "something other"),
        (entry("VOCdevkit/x", type=tarfile.GNUTYPE_SPARSE), "something other|is damaged"),
        (entry("VOCdevkit/VOC2007/1.txt"), "twice"),
        (entry("VOCdevkit/VOC2007/1.txt/2"), "twice"),
        (entry("VOCdevkit/x", size=10**12), "more than the"),
        (entry("VOCdevkit/x", size=-(10**6)), "more than the|is damaged"),
        (entry("VOCdevkit/x", size=10**5), "is damaged|states a wrong size"),
        (entry("VOCdevkit/" + "n" * 10, type=b"L", size=1 << 30), "header of|is damaged"),
        (entry("VOCdevkit/" + "n" * 10, type=b"x", size=1 << 30), "header of|is damaged"),
    ],
)
def test_tar_entries_that_are_refused(tmp_path: Path, odd: tarfile.TarInfo, said: str) -> None:
    (tmp_path / "evil").write_text("untouched")
    refused(pack(tmp_path / "a.tar", FILES, odd), tmp_path, said)
    refused(pack(tmp_path / "a.tgz", FILES, odd), tmp_path, said)
    assert (tmp_path / "evil").read_text() == "untouched"


@pytest.mark.parametrize("suffix", ["tar", "tgz"])
def test_an_invalid_header_is_not_the_end_of_an_archive(tmp_path: Path, suffix: str) -> None:
    whole = pack(tmp_path / "a.tar", {**FILES, "VOCdevkit/2": b"two"}).read_bytes()
    start = whole.index(b"VOCdevkit/2")
    damaged = whole[:start] + b"\xff" * 512 + whole[start + 512 :]
    archive = tmp_path / f"b.{suffix}"
    archive.write_bytes(gzip.compress(damaged) if suffix == "tgz" else damaged)
    refused(archive, tmp_path, "is damaged")


def test_link_that_nobody_asked_for_is_passed_over(tmp_path: Path) -> None:
    link = entry("code/latest", type=tarfile.SYMTYPE, linkname="1.0")
    archive = pack(tmp_path / "a.tar", FILES, link)
    unpack.unpack(archive, into=tmp_path / "out", most=MOST, wanted=("VOCdevkit/",))
    assert tree(tmp_path / "out") == FILES


def change_zip(path: Path, change: Callable[[zipfile.ZipInfo], None]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("VOCdevkit/x")
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, b"0" * 5000)
        change(archive.infolist()[0])  # what the directory says, which is written at the end
    return path


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("external_attr", 0o120777 << 16, "holds a link"),
        ("external_attr", 0o020777 << 16, "something other"),
        ("flag_bits", 1, "encrypted"),
        ("compress_type", zipfile.ZIP_LZMA, "unsupported compression"),
        ("file_size", 4000, "is damaged"),
        ("file_size", 6000, "states a wrong size|is damaged"),
        ("file_size", MOST + 1, "more than the"),
        ("header_offset", 9, "is damaged"),
    ],
)
def test_zip_entries_that_are_refused(tmp_path: Path, key: str, value: int, said: str) -> None:
    archive = change_zip(tmp_path / "a.zip", lambda info: setattr(info, key, value))
    refused(archive, tmp_path, said)


def test_bombs_stop_early(tmp_path: Path) -> None:
    """Ten gigabytes in ten megabytes: neither written nor even unpacked."""
    begun = time.monotonic()
    bomb = tmp_path / "a.tgz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(entry("VOCdevkit/x", size=10**10).tobuf())
        file.write(bytes(10**7))
    refused(bomb, tmp_path, "more than the")
    many = pack(tmp_path / "a.zip", {f"VOCdevkit/{i}": bytes(10**5) for i in range(11)})
    refused(many, tmp_path, "more than the")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("kind", "content", "times", "said"),
    [
        (tarfile.XHDTYPE, b"1" * (1 << 20), 1, "header of 1048576 bytes"),
        (tarfile.GNUTYPE_LONGNAME, b"a" * (1 << 20), 300, "header of 1048576 bytes"),
        (tarfile.XHDTYPE, b"1024 a=".ljust(1023, b"a") + b"\n", 32, "long names and other"),
    ],
)
def test_headers_of_tar_archives_are_short(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: bytes,
    content: bytes,
    times: int,
    said: str,
) -> None:
    """tarfile needs the square of a header's length, and keeps a chain of them in memory."""
    begun = time.process_time()
    monkeypatch.setattr(unpack, "_LONG_HEADERS", 1 << 14)
    with gzip.open(tmp_path / "a.tgz", "wb", compresslevel=1) as file:
        header = entry("x", size=len(content), type=kind).tobuf() + content
        for number in range(times):
            file.write(header)
            if kind == tarfile.XHDTYPE:
                file.write(entry(f"VOCdevkit/{number}").tobuf())
    refused(tmp_path / "a.tgz", tmp_path, said)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_folders_count_as_files_and_do_not_nest_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """A name of two thousand bytes makes a thousand folders."""
    deep = pack(tmp_path / f"a{suffix}", {f"VOCdevkit/{'a/' * 40}b": b""})
    refused(deep, tmp_path, "42 nested folders")
    monkeypatch.setattr(unpack, "MAX_FILES", 50)
    many = pack(tmp_path / f"b{suffix}", {f"VOCdevkit/{i}/b/c/d/e": b"" for i in range(20)})
    refused(many, tmp_path, "50 files")


def refused(archive: Path, tmp_path: Path, said: str, wanted: tuple[str, ...] = ()) -> None:
    before = tree(tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        unpack.unpack(archive, into=tmp_path / "in" / "out", most=MOST, wanted=wanted)
    assert str(archive) in str(caught.value)
    assert tree(tmp_path) == before
    assert not (tmp_path / "in" / "out").exists()


@pytest.mark.parametrize("suffix", ["tar", "tgz", "zip"])
def test_archive_that_is_cut_short(tmp_path: Path, suffix: str) -> None:
    whole = pack(tmp_path / f"a.{suffix}", {"VOCdevkit/x": os.urandom(5000)})
    whole.write_bytes(whole.read_bytes()[:4000])
    refused(whole, tmp_path, "is damaged|states a wrong size")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("plain")
    return {s: pack(folder / f"a.{s}", FILES).read_bytes() for s in ("tar", "tgz", "zip")}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), suffix=st.sampled_from(["tar", "tgz", "zip"]))
def test_any_bytes_unpack_inside_or_are_refused(
    plain: dict[str, bytes], tmp_path: Path, data: st.DataObject, suffix: str
) -> None:
    content = bytearray(plain[suffix])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    shutil.rmtree(tmp_path, ignore_errors=True)
    (tmp_path / "in").mkdir(parents=True)
    (tmp_path / "a").write_bytes(content)
    try:
        unpack.unpack(tmp_path / "a", into=tmp_path / "in" / "out", most=MOST)
    except UserError:
        assert not (tmp_path / "in" / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "a"] == ["in"]


def test_room_is_looked_at_before_unpacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(UserError, match="free some space"):
        unpack.unpack(
            pack(tmp_path / "a.zip", {"x": bytes(1000)}), into=tmp_path / "out", most=MOST
        )
    assert not (tmp_path / "out").exists()


def voc_archives(source: Path, url: str = "http://127.0.0.1:9") -> list[Archive]:
    """Two archives that share a folder, as those of VOC 2007 do."""
    source.mkdir()
    made = []
    for split, names in (("trainval", ("1", "2")), ("test", ("3",))):
        voc = "VOCdevkit/VOC2007"
        files = {f"{voc}/ImageSets/Main/{split}.txt": "\n".join(names).encode()}
        files |= {f"{voc}/JPEGImages/{name}.jpg": b"image" + name.encode() for name in names}
        path = pack(source / f"VOC{split}.tar", files)
        made.append(
            Archive(
                name=path.name,
                url=f"{url}/{path.name}",
                checksum="sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
                size=path.stat().st_size,
                unpacked=path.stat().st_size,
                inside="VOCdevkit",
                place="VOCdevkit",
                proof=(f"{voc}/ImageSets/Main/{split}.txt",),
            )
        )
    return made


LAID_OUT = {
    "VOC2007/ImageSets/Main/test.txt": b"3",
    "VOC2007/ImageSets/Main/trainval.txt": b"1\n2",
    "VOC2007/JPEGImages/1.jpg": b"image1",
    "VOC2007/JPEGImages/2.jpg": b"image2",
    "VOC2007/JPEGImages/3.jpg": b"image3",
}


def test_archives_from_elsewhere_are_laid_out_once(tmp_path: Path) -> None:
    archives = voc_archives(tmp_path / "from")
    root = tmp_path / "data"
    root.mkdir()

    said = prepare_archives(archives, root, tmp_path / "from", silent)
    assert tree(root) == {f"VOCdevkit/{name}": content for name, content in LAID_OUT.items()}
    assert all("unpacked into" in line for line in said)

    shutil.rmtree(tmp_path / "from")
    said = prepare_archives(archives, root, None, silent)
    assert all("left unchanged" in line for line in said)


def test_fetched_archives_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(Quiet, directory=str(tmp_path / "from"))
    root = tmp_path / "data"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        archives = voc_archives(tmp_path / "from", f"http://127.0.0.1:{server.server_port}")
        steps: dict[str, int] = {}
        said = prepare_archives(
            archives, root, None, lambda what, done, total: steps.update({what: done})
        )
        server.shutdown()
    assert tree(root / "VOCdevkit") == LAID_OUT
    assert sorted(tree(root / "downloads")) == ["VOCtest.tar", "VOCtrainval.tar"]
    assert "you can remove them" in said[-1]
    assert any("downloading" in what for what in steps)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


def test_goes_on_after_being_killed_and_keeps_what_is_there(tmp_path: Path) -> None:
    archives = voc_archives(tmp_path / "from")
    devkit = tmp_path / "data" / "VOCdevkit"
    (devkit / ".unpacking-VOCtrainval.tar" / "half").mkdir(parents=True)
    (devkit / "VOC2007" / "JPEGImages").mkdir(parents=True)
    (devkit / "VOC2007" / "JPEGImages" / "1.jpg").write_bytes(b"IMAGE1")  # as long, so it is kept

    prepare_archives(archives, tmp_path / "data", tmp_path / "from", silent)

    assert tree(devkit) == {**LAID_OUT, "VOC2007/JPEGImages/1.jpg": b"IMAGE1"}


def test_file_that_differs_stops_everything(tmp_path: Path) -> None:
    archives = voc_archives(tmp_path / "from")
    images = tmp_path / "data" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    images.mkdir(parents=True)
    (images / "2.jpg").write_bytes(b"cut")

    with pytest.raises(UserError, match=r"2\.jpg' has 3 bytes, but in the archive it has 6"):
        prepare_archives(archives, tmp_path / "data", tmp_path / "from", silent)

    assert tree(tmp_path / "data") == {"VOCdevkit/VOC2007/JPEGImages/2.jpg": b"cut"}


def test_proof_is_moved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in the middle leaves no proof behind."""
    archives = voc_archives(tmp_path / "from")
    (tmp_path / "data" / "VOCdevkit" / "VOC2007" / "ImageSets").mkdir(parents=True)
    moved: list[str] = []
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        moved.append(self.name)
        if self.name == "JPEGImages":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        prepare_archives(archives, tmp_path / "data", tmp_path / "from", silent)
    assert tree(tmp_path / "data") == {}

    monkeypatch.undo()
    prepare_archives(archives, tmp_path / "data", tmp_path / "from", silent)
    assert tree(tmp_path / "data" / "VOCdevkit") == LAID_OUT


def test_missing_archives_are_named_with_their_addresses(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    with pytest.raises(UserError, match=r"VOCtest_06-Nov-2007\.tar from https://thor\.robots"):
        prepare.prepare("voc0712", tmp_path / "data", tmp_path / "from")


def test_archive_with_a_wrong_checksum_is_not_unpacked(tmp_path: Path) -> None:
    archives = voc_archives(tmp_path / "from")
    damaged = tmp_path / "from" / archives[0].name
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="its sha256 is"):
        prepare_archives(archives, tmp_path / "data", tmp_path / "from", silent)
    assert tree(tmp_path / "data") == {}


def test_archive_without_its_proof_is_not_laid_out(tmp_path: Path) -> None:
    archive = replace(voc_archives(tmp_path / "from")[0], proof=("VOCdevkit/VOC2007/other",))
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="lacks 'VOCdevkit/VOC2007/other'"):
        prepare_archives([archive], tmp_path / "data", tmp_path / "from", silent)
    assert tree(tmp_path / "data") == {}


def test_room_for_all_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5 * 10**9))
    with pytest.raises(UserError, match=r"needs 10\.6 GB, but the disk .* has only 5\.0 GB left"):
        prepare.prepare("all", tmp_path / "data")


def test_only_one_process_prepares_a_folder(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with pytest.raises(UserError, match="Another 'transfer prepare' is running in"):
        prepare.prepare("voc0712", tmp_path)
    os.close(folder)


def test_data_that_is_there_is_found(tmp_path: Path) -> None:
    for name in ("trainval", "test"):
        proof = tmp_path / f"VOCdevkit/VOC2007/ImageSets/Main/{name}.txt"
        proof.parent.mkdir(parents=True, exist_ok=True)
        proof.touch()
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Main").mkdir(parents=True)
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt").touch()
    (tmp_path / "ADEChallengeData2016/annotations/validation").mkdir(parents=True)
    before = tree(tmp_path)

    for name, count in (("voc0712", 3), ("voc2012", 1), ("ade20k", 1)):
        said = prepare.prepare(name, tmp_path)
        assert len([line for line in said if "left unchanged" in line]) == count
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "sign",
    [
        "root/ADE20K_2021_17_01/images/ADE/training/nature/x_seg.png",
        "root/ade/ADE20K_2016_07_26/index_ade20k.mat",
        "root/ade/ADEChallengeData2016/images/ADE/validation/x.jpg",
        "root/ade/ADEChallengeData2016/images/training/a/abbey/ADE_train_00000001_seg.png",
        "from/ADE20K_2021_17_01.zip",
        "from/index_ade20k.pkl",
    ],
)
def test_full_release_of_ade20k_is_refused(tmp_path: Path, sign: str) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / sign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / sign).touch()
    with pytest.raises(UserError, match="is the full release of ADE20K"):
        prepare.prepare("ade20k", tmp_path / "root", tmp_path / "from")


def voc_and_sbd(root: Path) -> Path:
    """VOC 2012 with two masks of its own, and SBD with these and two more."""
    devkit = root / "VOCdevkit"
    voc, sbd = devkit / "VOC2012", devkit / "VOCaug" / "dataset"
    for folder in (voc / "SegmentationClass", voc / "ImageSets/Segmentation", sbd / "cls"):
        folder.mkdir(parents=True)
    for split, name in (("train", "2007_000001"), ("val", "2007_000002")):
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text(f"{name}\n")
        mask = Image.fromarray(np.array([[0, 255], [15, 20]], np.uint8), "P")
        mask.putpalette(list(range(256)) * 3)
        mask.save(voc / f"SegmentationClass/{name}.png")
    for name in ("2007_000001", "2008_000003", "2007_000002", "2008_000004"):
        classes = np.full((2, 3), int(name[-1]), np.uint8)
        cell = {"Segmentation": classes, "CategoriesPresent": 1, "Boundaries": np.zeros(20)}
        savemat(sbd / f"cls/{name}.mat", {"GTcls": cell})
    (sbd / "train.txt").write_text("2008_000003\n2007_000002\n")
    (sbd / "val.txt").write_text("2008_000004\n2007_000001\n")
    return devkit


def test_masks_of_voc_and_sbd_are_joined(tmp_path: Path) -> None:
    devkit = voc_and_sbd(tmp_path)
    assert not voc_aug.is_built(devkit)

    assert voc_aug.build(devkit, 3) == 3

    voc = devkit / "VOC2012"
    lists = {p.stem: p.read_text().split() for p in (voc / "ImageSets/Segmentation").iterdir()}
    assert lists["trainaug"] == ["2007_000001", "2008_000003", "2008_000004"]
    assert lists["aug"] == ["2008_000003", "2008_000004"]
    masks = {p.stem: Image.open(p) for p in (voc / "SegmentationClassAug").iterdir()}
    assert {mask.mode for mask in masks.values()} == {"L"}
    own, added = np.asarray(masks["2007_000001"]), np.asarray(masks["2008_000003"])
    assert own.tolist() == [[0, 255], [15, 20]]  # VOC's own mask, not SBD's
    assert added.tolist() == [[3, 3, 3], [3, 3, 3]]
    assert sorted(masks) == [*lists["trainaug"][:1], "2007_000002", *lists["aug"]]
    assert voc_aug.is_built(devkit)
    assert "already built" in prepare.prepare("voc2012aug", tmp_path)[0]


def test_other_lists_than_the_originals_are_refused(tmp_path: Path) -> None:
    devkit = voc_and_sbd(tmp_path)
    with pytest.raises(UserError, match="give 3 training images, not 10582"):
        voc_aug.build(devkit, 10582)
    (devkit / "VOCaug/dataset/val.txt").write_text("../../../evil\n")
    with pytest.raises(UserError, match="not an image name"):
        voc_aug.build(devkit, None)


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", bytes(500), b"\0\1IM" * 100])
def test_damaged_sbd_mask_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.mat"):
        voc_aug.read_sbd_mask(path)


def test_catalogue_of_archives() -> None:
    archives = {a.name: a for name in prepare.NAMES for a in catalogue.archives(name)}
    assert len(archives) == 5
    for archive in archives.values():
        assert archive.url.endswith(archive.name)
        assert archive.unpacked >= archive.size
        assert any(proof.startswith(archive.place) for proof in archive.proof)
    assert sum(a.size for a in catalogue.archives("voc0712")) == 2_910_691_840
    assert catalogue.archives("sample") == ()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    proof = tmp_path / "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt"
    proof.parent.mkdir(parents=True)
    proof.touch()
    assert prepare.run(parser.parse_args(["voc2012", "--root", str(tmp_path)])) == 0
    printed = capsys.readouterr().out
    assert "left unchanged" in printed
    assert f"transfer check voc2012 --data-root {tmp_path}" in printed
