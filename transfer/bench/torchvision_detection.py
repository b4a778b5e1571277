"""The side ``torchvision``: its reference training of Faster R-CNN, on the same network and images.

The reference's scripts (``references/detection``) are not part of the package; this is their loop
with their settings, in float32: SGD, warm-up, batches of like shape, images as PIL, evaluation by
pycocotools. The network has the config's proposals, RoIs and frozen stages.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms.functional import convert_image_dtype, hflip, pil_to_tensor

from backbones.common.errors import UserError
from backbones.common.image_file import read_image
from backbones.runtime.loop import ResumableBatchSampler
from backbones.zoo import zoo
from transfer.bench.breakdown import Stopwatch, completed
from transfer.bench.configs import config
from transfer.bench.pairs import Done, Work
from transfer.metrics.coco_ap import JudgedImage, coco_average_precision
from transfer.protocols.compose import pipelines

_FLIPPED = 0.5
_STAGES = 4
_WARM_UP = 1000  # iterations


def train(work: Work, place: Path) -> Done:
    """Train one epoch, then evaluate."""
    started = time.monotonic()
    cfg, watch = config(work), Stopwatch()
    with DefaultScope.overwrite_default_scope("mmdet"):
        loaders = _loaders(cfg, work)
    classes = cfg.model.roi_head.bbox_head.num_classes
    torch.manual_seed(work.seed)
    model = network(cfg, work, classes)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02 / 8, momentum=0.9, weight_decay=1e-4)
    steps = len(loaders["train"])
    warm_up = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1e-3, total_iters=min(_WARM_UP, max(steps - 1, 1))
    )
    ready = time.monotonic()
    _one_epoch(model, loader=loaders["train"], optimizer=optimizer, warm_up=warm_up, watch=watch)
    trained = time.monotonic()
    metric = _evaluate(model, loaders["test"])
    seconds = {
        "start_up": ready - started,
        "train": trained - ready,
        "evaluate": time.monotonic() - trained,
    }
    parts = {k: seconds[k] for k in ("start_up", "evaluate")} | watch.seconds
    images = steps * work.batch_size
    return Done(seconds, completed(parts, sum(seconds.values())), metric, images)


def network(cfg: Config, work: Work, classes: int) -> FasterRCNN:
    """Torchvision's Faster R-CNN with the config's sampling and limits.

    Raises:
        UserError: Torchvision has no such backbone.
    """
    name = zoo.find(work.backbone).architecture
    if name not in resnet.__all__:
        raise UserError(
            f"Torchvision has no network '{name}': compare with --backbone resnet50_baseline."
        )
    settings = cfg.model
    longer = max(
        max(step.scale) for steps in pipelines(cfg) for step in steps if step.type == "Resize"
    )
    backbone = resnet_fpn_backbone(
        backbone_name=name,
        weights=None,
        norm_layer=FrozenBatchNorm2d,
        trainable_layers=_STAGES - settings.backbone.frozen_stages,
    )
    for block in backbone.modules():
        if isinstance(block, resnet.Bottleneck):
            block.bn3.weight.zero_()  # as timm does; random blocks behind frozen norms diverge
    return FasterRCNN(
        backbone,
        num_classes=classes + 1,  # torchvision counts the background
        min_size=work.image_size,
        max_size=longer,
        rpn_pre_nms_top_n_train=settings.train_cfg.rpn_proposal.nms_pre,
        rpn_post_nms_top_n_train=settings.train_cfg.rpn_proposal.max_per_img,
        rpn_pre_nms_top_n_test=settings.test_cfg.rpn.nms_pre,
        rpn_post_nms_top_n_test=settings.test_cfg.rpn.max_per_img,
        rpn_batch_size_per_image=settings.train_cfg.rpn.sampler.num,
        box_batch_size_per_image=settings.train_cfg.rcnn.sampler.num,
        box_score_thresh=settings.test_cfg.rcnn.score_thr,
        box_nms_thresh=settings.test_cfg.rcnn.nms.iou_threshold,
        box_detections_per_img=settings.test_cfg.rcnn.max_per_img,
    )


class _Images(Dataset):
    """Images and targets as in torchvision's reference, from the config's data set."""

    def __init__(self, dataset: Any, training: bool) -> None:
        dataset.full_init()
        self.dataset, self.training = dataset, training
        self.classes = dataset.metainfo["classes"]

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Annotations of an image; the sampler reads its size there."""
        return self.dataset.get_data_info(index)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        info = self.get_data_info(index)
        image = pil_to_tensor(read_image(Path(info["img_path"])).convert("RGB"))
        things = [t for t in info["instances"] if not (self.training and t["ignore_flag"])]
        boxes = torch.tensor([t["bbox"] for t in things], dtype=torch.float32).reshape(-1, 4)
        if self.training and torch.rand(1) < _FLIPPED:
            image = hflip(image)
            boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
        target = {
            "boxes": boxes,
            "labels": torch.tensor([t["bbox_label"] + 1 for t in things], dtype=torch.long),
            "ignored": np.array([bool(t["ignore_flag"]) for t in things], dtype=bool),
            "name": str(info["img_id"]),
        }
        return convert_image_dtype(image, torch.float32), target


def _loaders(cfg: Config, work: Work) -> dict[str, DataLoader]:
    train = _Images(DATASETS.build(cfg.train_dataloader.dataset), training=True)
    order = torch.utils.data.RandomSampler(
        train, generator=torch.Generator().manual_seed(work.seed)
    )
    order.dataset = train  # type: ignore[attr-defined]  # as MMEngine's samplers have it
    batches = ResumableBatchSampler(order, work.batch_size, drop_last=False, by_aspect_ratio=True)
    options: dict[str, Any] = {"num_workers": work.workers, "collate_fn": _as_they_are}
    return {
        "train": DataLoader(train, batch_sampler=batches, **options),
        "test": DataLoader(_Images(DATASETS.build(cfg.val_dataloader.dataset), False), **options),
    }


def _as_they_are(batch: list[tuple[Tensor, dict[str, Any]]]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def _one_epoch(
    model: FasterRCNN,
    *,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    warm_up: torch.optim.lr_scheduler.LRScheduler,
    watch: Stopwatch,
) -> None:
    """Run the reference's loop.

    Raises:
        UserError: The loss is not a number.
    """
    model.train()
    batches = iter(loader)
    while True:
        with watch.time("load"):
            batch = next(batches, None)
        if batch is None:
            return
        with watch.time("forward"):
            losses = sum(model(*batch).values())
        if not math.isfinite(losses.item()):
            raise UserError(f"Torchvision's loss is {losses.item()}, so the pair is useless.")
        with watch.time("step"):
            optimizer.zero_grad()
        with watch.time("backward"):
            losses.backward()
        with watch.time("step"):
            optimizer.step()
            warm_up.step()


@torch.inference_mode()
def _evaluate(model: FasterRCNN, loader: DataLoader) -> float:
    """COCO's mean average precision over all classes, in percent."""
    model.eval()
    judged = []
    for images, targets in loader:
        for found, target in zip(model(images), targets, strict=True):
            boxes, labels = target["boxes"].numpy(), target["labels"].numpy() - 1
            counts = ~target["ignored"]
            judged.append(
                JudgedImage(
                    name=target["name"],
                    found={
                        "bboxes": found["boxes"].numpy(),
                        "scores": found["scores"].numpy(),
                        "labels": found["labels"].numpy() - 1,
                    },
                    truth={"bboxes": boxes[counts], "labels": labels[counts]},
                    ignored={"bboxes": boxes[~counts], "labels": labels[~counts]},
                )
            )
    values = coco_average_precision(judged, loader.dataset.classes)["coco"].values()  # type: ignore[attr-defined]
    return 100 * float(np.mean(list(values))) if values else math.nan
