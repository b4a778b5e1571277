"""A batch of two made-up images with annotations, as a pipeline would give it to a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from transfer.protocols.placement import kind_of, nodes

_BOXES = ((0.1, 0.1, 0.5, 0.7), (0.4, 0.2, 0.9, 0.9))
"""Two boxes, as shares of an image's side."""


def sample_of(scope: str, side: int) -> Any:
    """A square image's data sample without annotations."""
    shape = (side, side)
    return (DetDataSample if scope == "mmdet" else SegDataSample)(
        metainfo={
            **dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape),
            "scale_factor": (1.0, 1.0),
        }
    )


def made_up_batch(cfg: Config, side: int) -> dict[str, Any]:
    """Two images of noise, whose objects and pixels are of the first class.

    Args:
        cfg: A composed config.
        side: Side of the images in pixels.
    """
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=draws)
    samples = [sample_of(cfg.default_scope, side) for _ in images]
    steps = nodes(cfg.train_dataloader.dataset)
    loading = next(step for step in steps if kind_of(step) == "LoadAnnotations")
    for sample in samples:
        if cfg.default_scope == "mmdet":
            objects = _objects(loading, side)
            sample.set_data({"gt_instances": objects, "ignored_instances": objects[:0]})
        else:
            pixels = torch.zeros(1, side, side, dtype=torch.long)
            pixels[:, :, : side // 8] = 255
            sample.set_data({"gt_sem_seg": PixelData(data=pixels)})
    return {"inputs": list(images), "data_samples": samples}


def _objects(loading: dict[str, Any], side: int) -> InstanceData:
    """Two objects, with what the pipeline loads."""
    boxes = torch.tensor(_BOXES) * side
    loaded: dict[str, Any] = {}
    if loading.get("with_label", True):
        loaded["labels"] = torch.zeros(len(boxes), dtype=torch.long)
    if loading.get("with_bbox", True):
        loaded["bboxes"] = HorizontalBoxes(boxes)
    if loading.get("with_mask") and loading.get("poly2mask", True):
        masks = np.zeros((len(boxes), side, side), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
            mask[top:bottom, left:right] = 1
        loaded["masks"] = BitmapMasks(masks, side, side)
    elif loading.get("with_mask"):
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].numpy()
        loaded["masks"] = PolygonMasks([[one] for one in corners], side, side)
    return InstanceData(**loaded)
