"""The layouts as MMDetection and MMSegmentation read them, with errors that name the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmdet.datasets import XMLDataset
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from backbones.errors import UserError
from backbones.resources import cache_dir
from transfer.datasets.readers import BadFile, check_image, read_voc_xml
from transfer.datasets.sample import ensure_sample

_END_OF_JPEG = b"\xff\xd9"


class NamesFaults:
    """Makes a file that cannot be read one sentence with its path."""

    def prepare_data(self, index: int) -> Any:
        """An image through the pipeline.

        Raises:
            UserError: The image or its mask is missing or damaged.
        """
        info = self.get_data_info(index)  # type: ignore[attr-defined]
        for key in ("img_path", "seg_map_path"):
            if key in info:
                _require_whole(Path(info[key]))
        return self.pipeline(info)  # type: ignore[attr-defined]


def _require_whole(path: Path) -> None:
    """Look at a file's last bytes; OpenCV would fill what is missing of an image with grey."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END_OF_JPEG), os.SEEK_END)
            whole = path.suffix != ".jpg" or file.read() == _END_OF_JPEG
        if not whole:  # cut short, or whole with something after its end: decoding tells
            check_image(path)
    except (OSError, BadFile) as error:
        raise UserError(
            f"'{path}' cannot be read ({getattr(error, 'reason', error)}); replace it, or look for "
            "more of the kind with 'transfer check'."
        ) from error


@DATASETS.register_module()
class VocBoxes(NamesFaults, XMLDataset):
    """Boxes in VOC's layout, read as MMDetection's ``VOCDataset`` reads them.

    Args:
        difficult_is_positive: Train on difficult objects as on any other (the authors' protocol);
            otherwise they are neither positive nor negative.
        data_root: Folder of the VOC years, or ``"sample"`` for the built-in sample.
        options: As MMDetection's ``XMLDataset``.

    Raises:
        UserError: An XML file that cannot be read or names a class that is not listed.
    """

    def __init__(self, data_root: str, difficult_is_positive: bool = False, **options: Any) -> None:
        self.difficult_is_positive = difficult_is_positive
        super().__init__(data_root=_root(data_root, "VOCdevkit"), **options)

    def parse_data_info(self, img_info: dict) -> dict:
        """One image's boxes, 0-based x1 y1 x2 y2 in pixels."""
        annotation = read_voc_xml(Path(img_info["xml_path"]))
        return {
            "img_id": img_info["img_id"],
            "img_path": str(Path(self.sub_data_root) / img_info["file_name"]),
            "xml_path": img_info["xml_path"],
            "width": annotation.width,
            "height": annotation.height,
            "instances": [
                self._instance(thing, img_info["xml_path"]) for thing in annotation.objects
            ],
        }

    def _instance(self, thing: Any, xml_path: str) -> dict:
        if thing.name not in self.cat2label:
            raise UserError(
                f"'{xml_path}' names the class '{thing.name}', which the data set's file does not "
                "list; add it to 'classes' or mend the annotation."
            )
        box = [edge - 1 for edge in thing.box]
        smallest = self.bbox_min_size or 0
        small = min(box[2] - box[0], box[3] - box[1]) < smallest
        difficult = thing.difficult and not self.difficult_is_positive
        return {
            "bbox": box,
            "bbox_label": self.cat2label[thing.name],
            "ignore_flag": int(difficult or small),
        }


@DATASETS.register_module()
class IndexMasks(NamesFaults, BaseSegDataset):
    """Masks of class indices, as ADE20K and VOC have them.

    Args:
        data_root: Folder that the prefixes start from, or ``"sample"`` for the built-in sample.
        options: As MMSegmentation's ``BaseSegDataset``.
    """

    def __init__(self, data_root: str, **options: Any) -> None:
        super().__init__(data_root=_root(data_root, "ADEChallengeData2016"), **options)


def _root(data_root: str, part: str) -> str:
    return str(ensure_sample(cache_dir() / "sample") / part) if data_root == "sample" else data_root
