"""``exclude`` in a data set's file reads what ``transfer check --fix-list`` writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope

from backbones.common.errors import UserError
from tests.support import drawn_data as draw
from tests.support.composed import MEAN, STD, cell
from transfer.datasets import check
from transfer.datasets.requirements import require_usable
from transfer.protocols import compose

EXCLUDE = 'exclude = "leave-out.txt"\n'


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args(arguments))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def spoil_voc(folder: Path) -> str:
    year = draw.draw_voc(folder)
    cut(year / "JPEGImages/a.jpg")
    (year / "Annotations/b.xml").write_text("<annotation>")
    return draw.boxes_toml()


def spoil_coco(folder: Path) -> str:
    draw.draw_coco(folder)
    cut(folder / "images/a.jpg")
    (folder / "images/b.jpg").unlink()
    return draw.coco_toml()


def spoil_masks(folder: Path) -> str:
    draw.draw_masks(folder)
    cut(folder / "images/train/a.jpg")
    draw.save_mask(folder / "masks/train/b.png", [0, 7])
    return draw.masks_toml()


def composed(data: draw.DataSet, task: str) -> Config:
    return compose.compose(cell(task), data, weights="", mean=MEAN, std=STD)


def trained_on(data: draw.DataSet, task: str) -> list[str]:
    """Names of the images that a training loads."""
    loader = composed(data, task).train_dataloader
    with DefaultScope.overwrite_default_scope(f"mm{task[:3]}"):
        dataset = DATASETS.build(loader.dataset)
    dataset.full_init()
    return [Path(dataset.get_data_info(i)["img_path"]).name for i in range(len(dataset))]


@pytest.mark.parametrize("spoil", [spoil_voc, spoil_coco, spoil_masks])
def test_faulty_images_are_left_out(
    tmp_path: Path, spoil: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    toml = spoil(tmp_path)
    before = draw.load(tmp_path, toml)
    task = "segmentation" if before.segmentation else "detection"
    with pytest.raises(UserError):
        require_usable(before, task)
    listed = str(tmp_path / "leave-out.txt")
    assert command(str(tmp_path / "own.toml"), "--fix-list", listed) == 1
    assert EXCLUDE.strip() in capsys.readouterr().out
    data = draw.load(tmp_path, EXCLUDE + toml)
    assert command(str(tmp_path / "own.toml")) == 0
    require_usable(data, task)
    assert trained_on(data, task) == ["c.jpg"]
    assert data.fingerprint(task) != before.fingerprint(task)
    cut(next(tmp_path.rglob("c.jpg")))  # the next list keeps those of the first
    assert command(str(tmp_path / "own.toml"), "--fix-list", listed) == 1
    names = [Path(line).name for line in (tmp_path / "leave-out.txt").read_text().splitlines()]
    assert names == ["a.jpg", "b.jpg", "c.jpg"]


def test_what_leaves_nothing_or_all_out_is_reported(tmp_path: Path) -> None:
    draw.draw_voc(tmp_path)
    (tmp_path / "leave-out.txt").write_text("parts/JPEGImages/none.jpg\n")
    data = draw.load(tmp_path, EXCLUDE + draw.boxes_toml())
    (fault,) = draw.found(data)
    assert fault[:2] == ("excluded", "none.jpg")
    lines = "".join(f"parts/JPEGImages/{name}.jpg\n" for name in "abc")
    (tmp_path / "leave-out.txt").write_text(lines)
    fault = draw.found(draw.load(tmp_path, EXCLUDE + draw.boxes_toml()))[0]
    assert fault == ("list", "train.txt", "has no image that is not excluded")


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    draw.draw_voc(tmp_path)
    with pytest.raises(UserError, match=r"leave-out\.txt' does not exist"):
        draw.load(tmp_path, EXCLUDE + draw.boxes_toml())


def test_a_file_without_the_entry_has_the_config_and_fingerprint_of_before(tmp_path: Path) -> None:
    """Records that were made before there was such an entry stay comparable."""
    draw.draw_masks(tmp_path)
    data = draw.load(tmp_path, draw.masks_toml())
    fields = data._hashed("segmentation")
    assert "excluded" not in fields
    assert "suffix" not in json.dumps(fields)
    leaf = composed(data, "segmentation").test_dataloader.dataset
    assert not {"suffix", "exclude"} & set(ConfigDict(leaf))


# What every file repeats has a default


def test_a_file_may_say_no_more_than_its_splits(tmp_path: Path) -> None:
    draw.draw_coco(tmp_path)
    data = draw.load(tmp_path, draw.coco_toml())
    assert (data.name, data.title, data.root) == ("own", "own", tmp_path)
    assert data.detection
    assert data.detection.layout == "coco"
    draw.draw_masks(tmp_path / "more")
    masks = draw.load(tmp_path / "more", draw.masks_toml()).segmentation
    assert masks
    assert (masks.zero_is_ignored, masks.ignore_index) == (False, 255)


def test_a_list_starts_from_the_root(tmp_path: Path) -> None:
    """Neither from the folder of images nor from that of the TOML file."""
    draw.draw_masks(tmp_path / "data")
    extra = '[segmentation.train]\nlist = "lists/some.txt"'
    toml = 'root = "data"\n' + draw.masks_toml().replace("[segmentation.train]", extra)
    for place in (tmp_path, tmp_path / "data/images/train", tmp_path / "data"):
        with pytest.raises(UserError, match=r"data/lists/some.txt.*is relative to 'root'"):
            draw.load(tmp_path, toml).fingerprint("segmentation")
        (place / "lists").mkdir()
        (place / "lists/some.txt").write_text("b\n")
    assert trained_on(draw.load(tmp_path, toml), "segmentation") == ["b.jpg"]


def test_a_suffix_is_no_part_of_coco(tmp_path: Path) -> None:
    draw.draw_coco(tmp_path)
    toml = draw.coco_toml().replace('"train.json" }', '"train.json", suffix = ".jpg" }')
    with pytest.raises(UserError, match="'suffix' in COCO's layout"):
        draw.load(tmp_path, toml)


def test_a_class_that_is_nearly_listed_is_suggested(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    for name, said in (("Bolt", "bolt"), ("bolt ", "bolt"), ("nuts", "nut")):
        (year / "Annotations/a.xml").write_text(draw.voc_xml(draw.voc_object(name)))
        faults = [
            one for one in draw.found(draw.load(tmp_path, draw.boxes_toml())) if one[0] == "class"
        ]
        assert [one[2] for one in faults] == (
            [] if name.strip() == said else [f"names '{name}' (did you mean '{said}'?)"]
        )
    toml = draw.boxes_toml().replace("train =", 'headline_classes = ["BOLT"]\ntrain =')
    with pytest.raises(UserError, match=r"headline class 'BOLT', .* \(did you mean 'bolt'"):
        draw.load(tmp_path, toml)
