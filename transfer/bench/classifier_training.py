"""Sides of classifier training: ours, timm's own loop, and the network alone.

timm's training script is not part of its package. ``timm`` here is its loop, rebuilt from the
package's own parts (data set, transforms, loader, optimiser, scheduler) with the script's defaults:
prefetcher on, channels_last and autocast as requested, the loss read at every step. All sides use
the GPU if there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.data import create_dataset, create_loader
from timm.data.readers import add_img_extensions
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy

from backbones.training import training
from backbones.training.augmentation import MEAN, STD
from backbones.training.image_folder import SUFFIXES
from backbones.weights.safetensors_header import read_own_metadata
from backbones.zoo import zoo
from transfer.bench.pairs import Done, Work

_MIN_AREA = 0.25


def ours(work: Work, place: Path) -> Done:
    """Run ``backbones/train.py`` for one epoch; decoding every image once is part of start-up."""
    planned = training.plan(
        work.backbone,
        Path(work.data),
        epochs=1,
        batch_size=work.batch_size,
        image_size=work.image_size,
        min_area=_MIN_AREA,
        precision=work.precision,
    )
    started = time.monotonic()
    trained: dict[str, float] = {}

    def listen(phase: str, done: int, total: int) -> None:
        if phase == "train" and done == total:
            trained.setdefault("end", time.monotonic())

    output = place / "classifier.safetensors"
    training.train(
        planned,
        output,
        place / "work",
        workers=work.workers,
        cache=True,
        listener=listen,
    )
    end = time.monotonic()
    steps = read_own_metadata(output)["seconds"]
    return Done(
        {
            "start_up": trained["end"] - started - steps,
            "train": steps,
            "evaluate": end - trained["end"],
        }
    )


def timm_loop(work: Work, place: Path) -> Done:
    """Run timm's loop: one epoch of training, then validation."""
    started = time.monotonic()
    loaders = {split: _timm_loader(work, split) for split in ("train", "validation")}
    model = _network(work)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.05, weight_decay=1e-4, momentum=0.9)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=1, updates_per_epoch=len(loaders["train"])
    )
    losses = AverageMeter()
    model.train()
    ready = time.monotonic()
    for step, (images, labels) in enumerate(loaders["train"], start=1):
        with _autocast(work):
            loss = F.cross_entropy(model(_laid_out(images)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item(), len(images))
        scheduler.step_update(num_updates=step, metric=losses.avg)
    trained = time.monotonic()
    _timm_validate(model, loaders["validation"], work)
    return Done(
        {
            "start_up": ready - started,
            "train": trained - ready,
            "evaluate": time.monotonic() - trained,
        }
    )


def network_alone(work: Work, place: Path) -> Done:
    """Train the same network, optimiser and precision on one batch in memory."""
    model = _network(work)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True
    )
    device = _device()
    shape = (work.batch_size, 3, work.image_size, work.image_size)
    images = _laid_out(torch.randn(shape, device=device))
    labels = torch.randint(_classes(work), (work.batch_size,), device=device)
    started = time.monotonic()
    for _ in range(work.images // work.batch_size):
        with _autocast(work):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    loss.item()  # waits for a GPU
    return Done({"train": time.monotonic() - started})


def _timm_loader(work: Work, split: str) -> Any:
    add_img_extensions(SUFFIXES)
    training_split = split == "train"
    folder = Path(work.data) / ("train" if training_split else "val")
    return create_loader(
        create_dataset("", root=str(folder), is_training=training_split),
        input_size=(3, work.image_size, work.image_size),
        batch_size=work.batch_size,
        is_training=training_split,
        scale=(_MIN_AREA, 1.0),
        ratio=(3 / 4, 4 / 3),
        color_jitter=0.4,
        interpolation="bilinear",
        mean=tuple(m / 255 for m in MEAN),
        std=tuple(s / 255 for s in STD),
        num_workers=work.workers,
        crop_pct=224 / 256,
        device=_device(),
        use_prefetcher=True,
        persistent_workers=False,
    )


def _timm_validate(model: Any, loader: Any, work: Work) -> float:
    meter = AverageMeter()
    model.eval()
    with torch.inference_mode():
        for images, labels in loader:
            with _autocast(work):
                output = model(_laid_out(images))
            meter.update(accuracy(output, labels, topk=(1,))[0].item(), len(images))
    return meter.avg


def _network(work: Work) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(zoo.find(work.backbone).architecture, num_classes=_classes(work))
    return model.to(_device()).to(memory_format=torch.channels_last)


def _classes(work: Work) -> int:
    return sum(entry.is_dir() for entry in (Path(work.data) / "train").iterdir())


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _laid_out(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _autocast(work: Work) -> torch.autocast:
    return torch.autocast(_device().type, torch.bfloat16, enabled=work.precision == "bfloat16")


SIDES: dict[str, Callable[[Work, Path], Done]] = {
    "ours": ours,
    "timm": timm_loop,
    "network alone": network_alone,
}
