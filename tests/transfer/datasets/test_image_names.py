"""Files by the names that lists have for them, and what lies in the place of a missing one."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backbones.common.errors import UserError
from backbones.common.regular_file import UnfitFile
from tests.support import drawn_data as draw
from transfer.datasets.image_names import ENDINGS, ImageFinder, Neighbours
from transfer.datasets.name_lists import read_names
from transfer.datasets.requirements import require_usable
from transfer.datasets.toolbox_datasets import IndexMasks, VocBoxes

MIXED = {"a": ".PNG", "b": ".jpeg", "c": ".Tiff", "d": ".webp"}


def mix(folder: Path) -> None:
    """Give images the endings of :data:`MIXED`, and their formats."""
    for path in sorted(folder.rglob("*.jpg")):
        draw.picture(ord(path.stem)).save(path.with_suffix(MIXED[path.stem]))
        path.unlink()


def test_images_of_voc_have_any_ending(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    mix(year)
    data = draw.load(tmp_path, draw.boxes_toml())
    assert draw.found(data) == []
    require_usable(data, "detection")
    dataset = VocBoxes(
        data_root=str(tmp_path),
        ann_file="parts/ImageSets/Main/train.txt",
        data_prefix={"sub_data_root": "parts/"},
        metainfo={"classes": ("bolt", "nut")},
    )
    names = [Path(dataset.get_data_info(i)["img_path"]).name for i in range(len(dataset))]
    assert names == ["a.PNG", "b.jpeg", "c.Tiff"]


def test_images_of_masks_have_any_ending_and_hidden_files_are_none(tmp_path: Path) -> None:
    draw.draw_masks(tmp_path)
    before = draw.load(tmp_path, draw.masks_toml()).fingerprint("segmentation")
    for kind in ("images", "masks"):
        (tmp_path / kind / "train/._a.png").write_bytes(b"\0\5\26\7")
        (tmp_path / kind / "train/.ipynb_checkpoints").mkdir()
    assert draw.load(tmp_path, draw.masks_toml()).fingerprint("segmentation") == before
    mix(tmp_path / "images")
    data = draw.load(tmp_path, draw.masks_toml())
    assert draw.found(data) == []
    dataset = IndexMasks(
        data_root=str(tmp_path),
        data_prefix={"img_path": "images/train", "seg_map_path": "masks/train"},
        metainfo={"classes": ("ground", "part")},
    )
    pairs = [
        tuple(Path(dataset.get_data_info(i)[key]).name for key in ("img_path", "seg_map_path"))
        for i in range(len(dataset))
    ]
    assert pairs == [("a.PNG", "a.png"), ("b.jpeg", "b.png"), ("c.Tiff", "c.png")]


def test_two_images_of_one_name_need_a_suffix(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    draw.picture(7).save(year / "JPEGImages/a.png")
    (kind, _, message), *_ = draw.found(draw.load(tmp_path, draw.boxes_toml()))
    assert kind == "list"
    assert "could be a.jpg or a.png" in message
    toml = draw.boxes_toml().replace('"train" }', '"train", suffix = ".JPG" }')
    data = draw.load(tmp_path, toml)
    assert draw.found(data) == []
    assert require_usable(data, "detection") == ()


def test_images_and_masks_may_lie_in_one_folder(tmp_path: Path) -> None:
    """A PNG beside another image of its name is its mask."""
    draw.draw_masks(tmp_path)
    for path in (tmp_path / "masks").glob("*/*.png"):
        path.rename(tmp_path / "images" / path.parent.name / path.name)
    data = draw.load(tmp_path, draw.masks_toml().replace("masks/", "images/"))
    assert draw.found(data) == []


def test_a_suffix_may_be_more_than_an_ending(tmp_path: Path) -> None:
    for name in ("x_left.png", "x_right.png", "y_LEFT.PNG", ".z_left.png"):
        (tmp_path / name).touch()
    finder = ImageFinder(tmp_path, "_left.png")
    assert finder.names() == ["x", "y"]
    assert finder.find("y").name == "y_LEFT.PNG"
    assert finder.find("z").name == "z_left.png"  # which is missing


NAMES = (
    st.text(
        st.characters(exclude_characters="/\\\0.", exclude_categories=("Cs", "Cc")),
        min_size=1,
        max_size=9,
    )
    .map(str.strip)
    .filter(bool)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, ending=st.sampled_from(ENDINGS), capital=st.booleans())
def test_every_file_is_found_by_its_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, ending: str, capital: bool
) -> None:
    folder = tmp_path_factory.mktemp("folder")
    file = folder / (name + (ending.upper() if capital else ending))
    try:
        file.touch()
    except OSError:
        return  # a name that this file system does not take
    assert ImageFinder(folder).find(name) == file
    assert ImageFinder(folder).names() == [name]
    assert (Neighbours(folder).instead_of(name + ending) or ("",))[0] == file.name


# What lies in a missing file's place


def flags(year: Path) -> None:
    for path in (year / "ImageSets/Main").iterdir():
        path.write_text("".join(f"{name}  -1\n" for name in read_names(path)))


def endings(year: Path) -> None:
    for path in (year / "ImageSets/Main").iterdir():
        path.write_text("".join(f"{name}.jpg\r\n" for name in read_names(path)))


def paths(year: Path) -> None:
    for path in (year / "ImageSets/Main").iterdir():
        lines = (f"parts\\JPEGImages\\{name}.jpg\n" for name in read_names(path))
        path.write_text("".join(lines))


def capitals(year: Path) -> None:
    for path in (year / "ImageSets/Main").iterdir():
        path.write_text(path.read_text().upper())


def gifs(year: Path) -> None:
    for path in list((year / "JPEGImages").iterdir()):
        path.rename(path.with_suffix(".gif"))


@pytest.mark.parametrize(
    ("spoil", "difference"),
    [
        (flags, "further columns"),
        (endings, "the extension .jpg"),
        (paths, "\\ for /, it starts with a folder's name, it has the extension .jpg"),
        (capitals, "upper and lower case differ"),
        (gifs, "files in .gif are not read"),
    ],
)
def test_one_finding_for_a_list_says_what_lies_there(
    tmp_path: Path, spoil: Callable[[Path], None], difference: str
) -> None:
    year = draw.draw_voc(tmp_path)
    spoil(year)
    data = draw.load(tmp_path, draw.boxes_toml())
    faults = draw.found(data)
    assert [one[:2] for one in faults] == [("near", "train.txt"), ("near", "val.txt")]
    assert f"{difference} (3 of 3 names)" in faults[0][2]
    with pytest.raises(UserError, match="3 of 3 names"):
        require_usable(data, "detection")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_unicodes_other_form_is_found(tmp_path: Path, form: str) -> None:
    other = "NFD" if form == "NFC" else "NFC"
    name = "pi\u00e8ce"
    year = draw.draw_voc(tmp_path, names=[unicodedata.normalize(form, f"{name}{n}") for n in "abc"])
    for path in (year / "ImageSets/Main").iterdir():
        path.write_text(unicodedata.normalize(other, path.read_text()), encoding="utf-8")
    faults = draw.found(draw.load(tmp_path, draw.boxes_toml()))
    assert [one[:2] for one in faults] == [("near", "train.txt"), ("near", "val.txt")]
    assert "Unicode's other form (2 of 2 names)" in faults[0][2]


def test_names_with_spaces_are_looked_for_whole(tmp_path: Path) -> None:
    draw.draw_voc(tmp_path, names=["part 1", "part 2", "part 3"])
    assert draw.found(draw.load(tmp_path, draw.boxes_toml())) == []


def test_lists_are_read_as_people_write_them(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    (year / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfa \r\n\r\n  b\r\nc")
    assert draw.found(draw.load(tmp_path, draw.boxes_toml())) == []
    assert read_names(year / "ImageSets/Main/train.txt") == ["a", "b", "c"]


def test_paths_of_another_system_in_coco(tmp_path: Path) -> None:
    draw.draw_coco(tmp_path)
    for file in ("train.json", "val.json"):
        draw.change_coco(
            tmp_path / file,
            lambda content: [
                one.update(file_name=f"images\\{one['file_name']}") for one in content["images"]
            ],
        )
    faults = draw.found(draw.load(tmp_path, draw.coco_toml()))
    assert [one[:2] for one in faults] == [("near", "train.json"), ("near", "val.json")]
    assert "'images\\a.jpg'" in faults[0][2]
    assert "has \\ for /, it starts with a folder's name (3 of 3" in faults[0][2]


def test_masks_whose_names_go_on_are_reported(tmp_path: Path) -> None:
    draw.draw_masks(tmp_path)
    for path in (tmp_path / "masks/train").iterdir():
        path.rename(path.with_stem(f"{path.stem}_L"))
    faults = draw.found(draw.load(tmp_path, draw.masks_toml()))
    assert [one[0] for one in faults] == ["near"]
    assert "the file of its mask is 'a_L.png'" in faults[0][2]


def test_a_missing_file_that_nothing_is_like_is_reported_with_its_whole_path(
    tmp_path: Path,
) -> None:
    year = draw.draw_voc(tmp_path)
    (year / "JPEGImages/b.jpg").unlink()
    data = draw.load(tmp_path, draw.boxes_toml())
    assert draw.found(data) == [("image", "b.jpg", "does not exist")]
    with pytest.raises(UserError, match=str(year / "JPEGImages/b.jpg")):
        require_usable(data, "detection")


@pytest.mark.parametrize(
    ("old", "new", "near"),
    [("images/train", "imags/train", "images"), ("masks/val", "masks/vall", "val")],
)
def test_a_missing_folder_is_reported_with_what_is_like_it(
    tmp_path: Path, old: str, new: str, near: str
) -> None:
    draw.draw_masks(tmp_path)
    data = draw.load(tmp_path, draw.masks_toml().replace(old, new))
    (fault,) = draw.found(data)
    assert fault[0] == "list"
    assert f"that folder contains '{near}'" in fault[2]


def test_a_list_that_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    for path in (tmp_path / "list", tmp_path / "none"):
        with pytest.raises(UnfitFile, match=str(path)):
            read_names(path)


def test_a_list_of_too_many_names_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("transfer.datasets.name_lists._MOST_NAMES", 3)
    path = tmp_path / "train.txt"
    path.write_text("a\nb\n\nc\n")
    assert read_names(path) == ["a", "b", "c"]
    path.write_text("a\nb\nc\nd\n")
    with pytest.raises(UnfitFile, match="more than the 3 names"):
        read_names(path)


def test_a_longer_name_is_found_among_many_as_by_brute_force(tmp_path):
    files = sorted(f"{stem}{end}.png" for stem in ("a", "ab", "b.c") for end in ("_m", "-m", "x"))
    for name in files:
        (tmp_path / name).touch()
    near = Neighbours(tmp_path, longer=True)
    for name in ("a", "ab", "b", "b.c", "c", "abx_"):
        longer = [file for file in files if file.startswith(tuple(name + sign for sign in "_-. "))]
        found = near.instead_of(name)
        assert (found[0] in longer) if found and longer else not longer, name
