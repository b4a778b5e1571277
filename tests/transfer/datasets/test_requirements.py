"""What a run refuses before its training, because the training or its test could not use it."""

import pytest

from backbones.common.errors import UserError
from tests.support import small_data, synthetic
from transfer.datasets.requirements import require_resizable, require_trainable
from transfer.protocols import compose

CROWD = {"image_id": 0, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 1}
FLAT = {"image_id": 0, "category_id": 1, "bbox": [5, 5, 40, 0.5], "area": 20, "iscrowd": 0}
HARD = "".join(small_data.object_xml(name, difficult=1) for name in small_data.CLASSES)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: small_data.voc(folder, dict.fromkeys(range(6), "")),
        lambda folder: small_data.voc(folder, dict.fromkeys(range(6), HARD)),
        lambda folder: small_data.coco(folder, []),
        lambda folder: small_data.coco(folder, [CROWD]),
        lambda folder: small_data.coco(folder, [FLAT]),
    ],
)
def test_training_images_without_a_box_that_counts_are_refused(tmp_path, make):
    data = small_data.load(make(tmp_path))
    with pytest.raises(UserError, match="hold no box that is trained on"):
        require_trainable(data, "detection")


def test_training_masks_that_hold_only_what_is_ignored_are_refused(tmp_path):
    data = small_data.load(small_data.masks(tmp_path, value=255))
    with pytest.raises(UserError, match="no labelled pixel"):
        require_trainable(data, "segmentation")


def test_one_box_in_the_last_image_is_enough(tmp_path):
    objects = {**dict.fromkeys(range(5), ""), 5: small_data.object_xml("nut")}
    require_trainable(small_data.load(small_data.voc(tmp_path, objects)), "detection")


def test_difficult_boxes_are_enough_where_the_protocol_trains_on_them(tmp_path):
    data = small_data.load(small_data.voc(tmp_path, dict.fromkeys(range(6), HARD)))
    cells = {name: synthetic.cell("resnet18_scratch", protocol=name) for name in ("quick", "paper")}
    trains = {
        name: compose.trains_on_difficult(
            compose.compose(cell, data, weights="", mean=(0.0,) * 3, std=(1.0,) * 3)
        )
        for name, cell in cells.items()
    }
    assert trains == {"quick": False, "paper": True}
    require_trainable(data, "detection", difficult=True)


@pytest.mark.parametrize("number", [0, 7])  # trained on, and tested on
@pytest.mark.parametrize("size", [(2400, 2), (2, 2400)])
def test_an_image_that_resizing_would_leave_without_a_pixel_is_named(tmp_path, number, size):
    data = small_data.load(small_data.masks(tmp_path, {number: size}))
    with pytest.raises(UserError, match=f"s{number:03}.jpg.*2400"):
        require_resizable(data, "segmentation", train_side=168, test_side=224)
    require_resizable(data, "segmentation", train_side=0, test_side=0)


@pytest.mark.parametrize(
    ("task", "protocol", "sides"),
    [
        ("segmentation", "quick", (168, 224)),  # 224 x 0.75
        ("detection", "quick", (224, 224)),
        ("segmentation", "openmmlab", (1024, 2048)),  # 2048 x 0.5
        ("segmentation", "paper", (260, 260)),  # base size 520 x 0.5, training and test
        ("detection", "paper", (1000, 1000)),
    ],
)
def test_how_short_a_long_side_becomes_is_read_off_the_protocol(tmp_path, task, protocol, sides):
    make = small_data.voc if task == "detection" else small_data.masks
    data = small_data.load(make(tmp_path))
    cell = synthetic.cell("resnet18_scratch", task, protocol=protocol)
    cfg = compose.compose(cell, data, weights="", mean=(0.0,) * 3, std=(1.0,) * 3)
    assert compose.shortest_long_sides(cfg) == sides
