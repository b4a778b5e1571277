"""The data-set classes of MMDetection and MMSegmentation, with errors that name the file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.image_file import require_bounded
from backbones.common.near_names import did_you_mean
from backbones.common.regular_file import UnfitFile
from backbones.common.resources import cache_dir
from transfer.datasets.coco_json import load_json
from transfer.datasets.listing import Item, keep, mask_items, voc_items
from transfer.datasets.object_masks import fault_of_mask, rectangle
from transfer.datasets.readers import check_image, mask_size, read_voc_xml
from transfer.datasets.sample import ensure_sample

_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND\xae\x42\x60\x82"}
"""The last bytes of a JPEG and of a PNG, by the first two."""

_IGNORED = 255


class NamesFaults:
    """Turns an unusable file into an error with its path."""

    def prepare_data(self, index: int) -> Any:
        """Pass an image through the pipeline.

        An object without a mask has its box as its mask, for detectors that also learn masks.

        Raises:
            UserError: The image or a mask is missing or damaged, or the annotation is for
                another image size.
        """
        info = self.get_data_info(index)  # type: ignore[attr-defined]
        for thing in info.get("instances", ()):
            if "mask" not in thing:
                thing["mask"] = rectangle(*thing["bbox"])
            elif fault := fault_of_mask(thing["mask"], info["width"], info["height"]):
                raise UserError(
                    f"An object's mask of '{info['img_path']}' {brief(fault)}; correct its "
                    "'segmentation', or remove it to use the box instead."
                )
        files = [Path(info[key]) for key in ("img_path", "seg_map_path") if info.get(key)]
        with _naming(files):
            for path in files:
                _require_sound(path)
            size = self._stated_size(info)
            prepared = self.pipeline(info)  # type: ignore[attr-defined]
        if prepared is None:  # a pipeline may leave an image out
            return None
        height, width = info["ori_shape"]  # set when loading; not every pipeline packs it
        if (width, height) != size:
            raise UserError(
                f"'{info['img_path']}' has {width} × {height} pixels when loaded, upright by "
                f"its EXIF data, but its annotation or mask is for {size[0]} × {size[1]}; make "
                "them match. 'transfer check' finds all such images."
            )
        return prepared

    def _stated_size(self, info: dict) -> tuple[int, int]:
        """Width and height of the image according to its annotation or mask, in pixels."""
        return info["width"], info["height"]


@contextlib.contextmanager
def _naming(files: Sequence[Path]) -> Iterator[None]:
    """Report which of an image's files is damaged, whatever error the loader raises.

    Raises:
        UserError: A file is unreadable or cannot be prepared for a network. It is not an
            :class:`UnfitFile`, which a loader's worker cannot pass on.
    """
    try:
        yield
    except UnfitFile as error:
        raise UserError(str(error)) from error
    except UserError:
        raise
    except Exception as error:  # Pillow and OpenCV raise many errors without naming the file
        for path in files:
            try:
                width, height, _ = check_image(path)
            except UnfitFile as bad:
                raise UserError(str(bad)) from error
        raise UserError(
            f"'{files[0]}' with its annotation or mask, of {width} × {height} pixels, cannot be "
            f"prepared for a network ({brief(error)}); enlarge or exclude it."
        ) from error


def _require_sound(path: Path) -> None:
    """Check that a file is safe for OpenCV: of limited size and complete.

    Some versions of OpenCV fill missing pixels with grey.
    """
    content = require_bounded(path)
    if not content.endswith(_ENDS.get(content[:2], b"")):
        check_image(path)  # truncated, or complete with trailing data: decoding decides


@DATASETS.register_module()
class VocBoxes(NamesFaults, XMLDataset):
    """Boxes in VOC's layout, read like MMDetection's ``VOCDataset``.

    Args:
        difficult_is_positive: Train on difficult objects like others (the authors' protocol);
            otherwise they are treated as background.
        data_root: Folder of the VOC years, or ``"sample"`` for the built-in sample.
        suffix: Suffix after an image's name; empty for any known extension.
        exclude: Excluded images, relative to ``data_root``.
        options: Options of MMDetection's ``XMLDataset``.

    Raises:
        UserError: An XML file is unreadable or names an unlisted class.
    """

    def __init__(
        self,
        data_root: str,
        difficult_is_positive: bool = False,
        suffix: str = "",
        exclude: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.difficult_is_positive = difficult_is_positive
        self.suffix, self.exclude = suffix, exclude
        super().__init__(data_root=_root(data_root, "VOCdevkit"), **options)

    def load_data_list(self) -> list[dict]:
        """Load the images of the list with their boxes."""
        self.cat2label = {name: label for label, name in enumerate(self.metainfo["classes"])}
        items = voc_items(Path(self.sub_data_root), Path(self.ann_file), self.suffix)
        return [self._info(item) for item in keep(items, Path(self.data_root), self.exclude)]

    def _info(self, item: Item) -> dict:
        """One image's boxes, 0-based x1 y1 x2 y2 in pixels."""
        assert item.annotation
        annotation, xml_path = read_voc_xml(item.annotation), str(item.annotation)
        return {
            "img_id": item.name,
            "img_path": str(item.image),
            "xml_path": xml_path,
            "width": annotation.width,
            "height": annotation.height,
            "instances": [self._instance(thing, xml_path) for thing in annotation.objects],
        }

    def prepare_data(self, index: int) -> Any:
        """Pass an image and its boxes through the pipeline.

        Raises:
            UserError: Also if a training box is empty, since its offsets are not finite.
        """
        prepared = super().prepare_data(index)
        if prepared and not self.test_mode:
            boxes = prepared["data_samples"].gt_instances.bboxes
            if (boxes.widths <= 0).any() or (boxes.heights <= 0).any():
                raise UserError(
                    f"'{self.get_data_info(index)['xml_path']}' has a box that is empty or outside "
                    "its image; correct it: VOC counts pixels from 1, and both ends belong to the "
                    "box. 'transfer check' finds all such boxes."
                )
        return prepared

    def _instance(self, thing: Any, xml_path: str) -> dict:
        if thing.name not in self.cat2label:
            raise UserError(
                f"'{xml_path}' names the class '{thing.name}', which the data set's file does not "
                f"list{did_you_mean(thing.name, self.cat2label)}; add it to 'classes' or fix the "
                "annotation."
            )
        # By MMDetection's count a box of one pixel has no width, so its offsets are not finite.
        smallest = self.bbox_min_size or int(not self.test_mode)
        small = 0 <= thing.shorter_side < smallest
        difficult = thing.difficult and not self.difficult_is_positive
        return {
            "bbox": [edge - 1 for edge in thing.box],
            "bbox_label": self.cat2label[thing.name],
            "ignore_flag": int(difficult or small),
        }


class _CocoFile(COCO):
    """COCO's reader without printing, with categories in the requested order.

    Raises:
        UserError: The file's categories differ from the data set's classes.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__()
        self.dataset = load_json(Path(file))
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: Sequence[str] = (), **_: Any) -> list[int]:
        """The ids of the classes in their order; MMDetection returns them in the file's order."""
        ids = {category["name"]: category["id"] for category in self.dataset["categories"]}
        used = {annotation["category_id"] for annotation in self.dataset["annotations"]}
        missing = [name for name in cat_names if name not in ids]
        extra = [name for name, number in ids.items() if number in used and name not in cat_names]
        for names, what in ((missing, "has no category"), (extra, "has boxes of")):
            if names:
                raise UserError(
                    f"'{self.file}' {what} '{names[0]}'"
                    f"{did_you_mean(names[0], cat_names if names is extra else list(ids))}"
                    + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
                    + "; make it agree with 'classes' in the data set's file."
                )
        return [ids[name] for name in cat_names]


@DATASETS.register_module()
class CocoBoxes(NamesFaults, CocoDataset):
    """Boxes in COCO's layout, read like MMDetection's ``CocoDataset``.

    A test counts every box of the file, like pycocotools; training skips those without an
    area.

    Args:
        data_root: Folder of the relative paths.
        exclude: Excluded images, relative to ``data_root``.
        options: Options of MMDetection's ``CocoDataset``.
    """

    COCOAPI = _CocoFile

    def __init__(self, data_root: str, exclude: Sequence[str] = (), **options: Any) -> None:
        self.exclude = exclude
        super().__init__(data_root=data_root, **options)

    def load_data_list(self) -> list[dict]:
        """Load the images of the file with their boxes."""
        found = {Path(info["img_path"]): info for info in super().load_data_list()}
        items = (Item(name=path.name, image=path) for path in found)
        return [found[item.image] for item in keep(items, Path(self.data_root), self.exclude)]

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """One image's boxes, x1 y1 x2 y2 in pixels; crowds are marked as ignored."""
        info = super().parse_data_info(raw_data_info)
        if self.test_mode:
            info["instances"] = [
                self._instance(annotation) for annotation in raw_data_info["raw_ann_info"]
            ]
        return info

    def _instance(self, annotation: dict) -> dict:
        left, top, width, height = annotation["bbox"]
        return {
            "bbox": [left, top, left + width, top + height],
            "bbox_label": self.cat2label[annotation["category_id"]],
            "ignore_flag": int(annotation.get("iscrowd", 0)),
        }


@DATASETS.register_module()
class IndexMasks(NamesFaults, BaseSegDataset):
    """Masks of class indices, as in ADE20K and VOC; ignored pixels become 255.

    Args:
        data_root: Folder of the relative prefixes, or ``"sample"`` for the built-in sample.
        ignore_index: Value of ignored pixels in the files, 0 to 255.
        suffix: Suffix after an image's name; empty for any known extension.
        mask_suffix: Suffix after a mask's name; empty for any known extension.
        exclude: Excluded images, relative to ``data_root``.
        options: Options of MMSegmentation's ``BaseSegDataset``.

    Raises:
        UserError: A mask has a value without a class.
    """

    def __init__(
        self,
        data_root: str,
        ignore_index: int = 255,
        suffix: str = "",
        mask_suffix: str = "",
        exclude: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.ignored_value = ignore_index
        self.suffix, self.mask_suffix, self.exclude = suffix, mask_suffix, exclude
        super().__init__(data_root=_root(data_root, "ADEChallengeData2016"), **options)

    def load_data_list(self) -> list[dict]:
        """Load the pairs of image and mask."""
        # Heads, crops and padding all use 255 for ignored pixels. The toolbox maps labels after
        # subtracting 1 where 0 is unlabelled.
        ignored = self.ignored_value - int(self.reduce_zero_label)
        if ignored >= 0 and self.ignored_value != _IGNORED:
            self.label_map = {ignored: _IGNORED}
        images, masks = (Path(self.data_prefix[key]) for key in ("img_path", "seg_map_path"))
        source = Path(self.ann_file) if self.ann_file else None
        items = mask_items(images, masks, source, self.suffix, self.mask_suffix)
        return [
            {
                "img_path": str(item.image),
                "seg_map_path": str(item.mask),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for item in keep(items, Path(self.data_root), self.exclude)
        ]

    def prepare_data(self, index: int) -> Any:
        """Pass an image and its mask through the pipeline."""
        prepared = super().prepare_data(index)
        if prepared and "gt_sem_seg" in (sample := prepared["data_samples"]):
            labels = sample.gt_sem_seg.data
            classes = len(self.metainfo["classes"])
            illegal = labels[(labels >= classes) & (labels != _IGNORED)]
            if illegal.numel():
                value = int(illegal.max()) + int(self.reduce_zero_label)
                raise UserError(
                    f"The mask '{sample.seg_map_path}' has the value {value}, but there are only "
                    f"{classes} classes; correct it, or 'classes', 'ignore_index' and "
                    "'zero_is_ignored' in the data set's file. 'transfer check' finds all such "
                    "masks."
                )
        return prepared

    def _stated_size(self, info: dict) -> tuple[int, int]:
        """Size of the mask; other files are refused, since the toolbox cuts 16 bits to 8."""
        return mask_size(Path(info["seg_map_path"]))


def _root(data_root: str, part: str) -> str:
    return str(ensure_sample(cache_dir() / "sample") / part) if data_root == "sample" else data_root
