"""What the protocols' tests share: tiny data, and what is built from each protocol for them."""

import cv2
import numpy as np
import pytest

from tests.support.protocol_objects import (
    IMAGES,
    SIZES,
    VOC_NAMES,
    configured,
    ready_to_train,
)
from transfer.datasets import catalogue


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixteen images, some of them grey: a plain, a difficult and a small box each, and masks."""
    root = tmp_path_factory.mktemp("data")
    draws = np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "masks"):
        (root / "VOC2007" / folder).mkdir(parents=True)
    names = [f"{i:06d}" for i in range(IMAGES)]
    for i, name in enumerate(names):
        width, height = SIZES[i % len(SIZES)]
        image = draws.integers(0, 256, (height, width, 3), np.uint8)
        image = image[..., 0] if i % 3 == 0 else image
        cv2.imwrite(str(root / f"VOC2007/JPEGImages/{name}.jpg"), image)
        mask = draws.integers(0, 151, (height, width), np.uint8)
        cv2.imwrite(str(root / f"VOC2007/masks/{name}.png"), mask)
        (root / f"VOC2007/Annotations/{name}.xml").write_text(annotation(width, height))
    for split in ("trainval", "test"):
        (root / f"VOC2007/ImageSets/Main/{split}.txt").write_text("\n".join(names))
    boxes = catalogue.DetectionSplit("VOC2007", "trainval")
    masks = catalogue.MaskSplit(images="VOC2007/JPEGImages", masks="VOC2007/masks")
    return catalogue.DataSet(
        name="tiny",
        title="tiny",
        root=root,
        detection=catalogue.Detection(
            root=root,
            layout="voc",
            classes=VOC_NAMES,
            train=(boxes,),
            test=(catalogue.DetectionSplit("VOC2007", "test"),),
        ),
        segmentation=catalogue.Segmentation(
            root=root,
            classes=tuple(f"class {i}" for i in range(150)),
            train=masks,
            test=masks,
            ignore_index=255,
            zero_is_ignored=True,
        ),
    )


def annotation(width, height):
    boxes = [(1, 1, width - 2, height - 2, 0), (2, 2, width, height, 1), (1, 1, 20, 20, 0)]
    objects = "".join(
        f"<object><name>dog</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, difficult in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


@pytest.fixture(scope="module")
def runners(data, tmp_path_factory):
    """The runners of all protocols, built once."""
    built = {}

    def get(task, protocol):
        if (task, protocol) not in built:
            cfg = configured(data, task, protocol)
            built[task, protocol] = ready_to_train(cfg, tmp_path_factory.mktemp("run"))
        return built[task, protocol]

    return get


@pytest.fixture
def detector(runners):
    return runners("detection", "paper").model.train()


@pytest.fixture
def segmenter(runners):
    return runners("segmentation", "paper").model.train()
