"""Trains a row of the zoo on an ImageFolder, with MMEngine's runner."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from mmengine.runner import Runner
from torch import nn

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.common.locks import try_lock
from backbones.runtime import (  # noqa: F401  (registered likewise)
    fused_sgd,
    loop,
    precision,
    randomness,
    ranks,
    state_files,
)
from backbones.runtime.allocation import keep_freed_memory
from backbones.runtime.checkpoint import ResumableState, unwrapped
from backbones.runtime.faults import disk_fault
from backbones.runtime.progress import Curve, Listener, Ticker
from backbones.runtime.runner import quiet_runner
from backbones.training import augmentation
from backbones.training.classifier import Classifier, TopK, drop_rate  # noqa: F401  (registered by the import)
from backbones.training.image_folder import SPLITS, ImageFolder, collate
from backbones.tricks.half_precision import optim_wrapper_type
from backbones.tricks.linear_scaling import scaled_lr
from backbones.tricks.trick import Trick, switched_on
from backbones.weights import weights
from backbones.weights.safetensors_header import METADATA_KEY, read_own_metadata
from backbones.weights.with_head import with_head
from backbones.zoo import zoo
from backbones.zoo.entry import TRAINING_VERSION
from backbones.zoo.networks import require_known

MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4
_EVALUATIONS = 10
_EVALUATED_TOGETHER = 256  # maximum number of images, for any batch size and number of processes


@dataclass(frozen=True)
class Training:
    """One training of a classifier.

    Attributes:
        row: Row of the zoo, with architecture and recipe.
        data: Folder of the ImageFolder.
        epochs: Passes over the data; warmup and steps keep their share.
        batch_size: Global batch size; the learning rate follows it (section 3.1).
        image_size: Side of the crops in pixels.
        base_lr: Learning rate for a batch size of 256.
        min_area: Smallest share of an image that a crop covers. The paper's 0.08 suits photographs
            of 500 pixels; small images need more.
        seed: Seed of initialisation, order and augmentation.
        precision: ``"float32"``, ``"bfloat16"``, or empty for the recipe's.
        teacher: File of the teacher's weights, or empty.
        authors_code: Follow the authors' code where it differs from the paper.
    """

    row: zoo.Variant
    data: Path
    _: KW_ONLY
    epochs: int
    batch_size: int
    image_size: int
    base_lr: float
    min_area: float = augmentation.MIN_AREA
    seed: int = 0
    precision: str = ""
    teacher: str = ""
    authors_code: bool = False

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """A hash of the names and sizes of each split's images, at the first access."""
        return {split: ImageFolder(str(self.data), split, 1).fingerprint() for split in SPLITS}

    @cached_property
    def identity(self) -> str:
        """Hash of everything that determines the result, including the list of images."""
        assert self.row.recipe is not None
        content = {
            "version": TRAINING_VERSION,
            "architecture": self.row.architecture,
            "recipe": self.row.recipe.content(),
            "data": self.fingerprints,
            "teacher": sha256(Path(self.teacher)) if self.teacher else "",
            **{
                name: getattr(self, name)
                for name in ("epochs", "batch_size", "image_size", "base_lr", "min_area", "seed")
            },
            "precision": self.wrapper_type(),
            "authors_code": 3 if self.authors_code else False,  # 2 shrank images by area
            **({"drop_rate": rate} if (rate := drop_rate(self.row.architecture)) else {}),
        }
        if ranks.world_size() > 1:  # batch norms see a part of the batch
            content["processes"] = ranks.world_size()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def wrapper_type(self) -> str:
        """MMEngine's optimiser wrapper, which decides the precision."""
        assert self.row.recipe is not None
        return optim_wrapper_type(self.row.recipe.half_precision, self.precision)


def plan(
    row_name: str,
    data: Path,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    image_size: int | None = None,
    base_lr: float | None = None,
    **options: Any,
) -> Training:
    """A training; settings that are not given are the recipe's.

    Raises:
        UserError: The row has no recipe, or a setting makes no sense.
    """
    row = zoo.find(row_name)
    recipe = row.recipe
    if recipe is None:
        raise UserError(
            f"'{row_name}' has none of the paper's recipes, so it cannot be trained; 'transfer "
            "backbones' lists the rows that can."
        )
    training = Training(
        row,
        data,
        epochs=recipe.epochs if epochs is None else epochs,
        batch_size=recipe.batch_size if batch_size is None else batch_size,
        image_size=(299 if row.architecture == "inception_v3" else 224)
        if image_size is None
        else image_size,
        base_lr=recipe.base_lr if base_lr is None else base_lr,
        **options,
    )
    for name in ("epochs", "batch_size", "image_size", "base_lr"):
        if not getattr(training, name) > 0:
            raise UserError(f"{name} is {getattr(training, name)}; it must be above 0.")
    if not 0 < training.min_area <= 1:
        raise UserError(f"min_area is {training.min_area}; it must be above 0 and at most 1.")
    if training.batch_size % ranks.world_size():
        raise UserError(
            f"The batch size {training.batch_size} is not divisible by {ranks.world_size()} "
            "processes; choose a --batch-size that is (the learning rate follows it)."
        )
    if bool(recipe.teacher) != bool(training.teacher):
        raise UserError(
            f"'{row_name}' is distilled: give its teacher's weights with --teacher "
            f"({recipe.teacher})."
            if recipe.teacher
            else f"'{row_name}' has no teacher; leave --teacher out."
        )
    if training.teacher:
        return dataclasses.replace(training, teacher=str(weights.locate(training.teacher)))
    return training


def train(
    training: Training,
    output: Path,
    work_dir: Path,
    *,
    workers: int = 0,
    cache: bool = False,
    save_minutes: float = 10.0,
    listener: Listener | None = None,
    resume: bool = True,
) -> Path:
    """Train a classifier and write it with its recipe, preprocessing and history.

    An interrupted training resumes from its last checkpoint.

    Args:
        training: The training.
        output: The ``.safetensors`` file to write.
        work_dir: Folder for logs and checkpoints.
        workers: Number of loader workers.
        cache: Keep decoded images in memory.
        save_minutes: Checkpoint interval in minutes.
        listener: Called at every step.
        resume: Whether to resume from a checkpoint in ``work_dir``.

    Raises:
        UserError: Data, teacher or disk have a fault, the loss is not finite, or another process of
            this machine trains in ``work_dir``.
    """
    with _alone_in(work_dir) if ranks.is_main() else nullcontext():
        return _train(
            training,
            output,
            work_dir,
            workers=workers,
            cache=cache,
            save_minutes=save_minutes,
            listener=listener,
            resume=resume,
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a work directory; the kernel releases it when this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "owner.lock").open("w")
    except OSError as error:
        raise disk_fault(error, folder) from error
    with lock:
        if not try_lock(lock):
            raise UserError(
                f"Another process trains in '{folder}': wait for it to end, or choose another "
                "--work-dir."
            )
        yield


def _train(
    training: Training,
    output: Path,
    work_dir: Path,
    *,
    workers: int,
    cache: bool,
    save_minutes: float,
    listener: Listener | None,
    resume: bool,
) -> Path:
    folders = {
        split: ImageFolder(
            str(training.data),
            split,
            training.image_size,
            authors_code=training.authors_code,
            cache=cache,
            min_area=training.min_area,
        )
        for split in SPLITS
    }
    states = work_dir / state_files.FOLDER
    state = ResumableState(str(states), training.identity, save_minutes)
    if not resume:
        ranks.on_main(lambda: state_files.forget(states))
    curve = Curve()
    runner = _runner(training, folders, work_dir, workers=workers, hooks=[state, curve])
    if listener:
        runner.register_hook(Ticker(listener), "LOWEST")
    runner.train()
    metrics = runner.val()
    metadata = _metadata(training, folders, metrics, curve)
    ranks.on_main(lambda: _write(output, unwrapped(runner.model), metadata))
    ranks.on_main(lambda: state_files.forget(states))
    return output


def _runner(
    training: Training,
    folders: dict[str, ImageFolder],
    work_dir: Path,
    *,
    workers: int,
    hooks: list[Any],
) -> Runner:
    row, recipe = training.row, training.row.recipe
    assert recipe is not None
    torch.manual_seed(training.seed)
    classes = folders["train"].classes
    settings = recipe.settings()
    if training.teacher:
        settings["teacher"] = _teacher(training, classes)
    tricks = switched_on(settings, authors_code=training.authors_code)
    model = Classifier(
        row.architecture,
        len(classes),
        tricks,
        authors_code=training.authors_code,
    )
    images = len(folders["train"])
    if training.batch_size > images:
        raise UserError(
            f"The batch size {training.batch_size} is larger than the training set of {images} "
            "images; choose a smaller --batch-size (the learning rate follows it)."
        )
    steps = images // training.batch_size
    trained = [p for p in model.network.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": WEIGHT_DECAY}]
    for trick in tricks:
        groups = trick.parameter_groups(groups)
    optimizer = torch.optim.SGD(
        groups,
        lr=scaled_lr(training.base_lr, training.batch_size),
        momentum=MOMENTUM,
        nesterov=True,
        fused=True,
    )
    loader = {"num_workers": workers, "persistent_workers": workers > 0, "collate_fn": collate}
    keep_freed_memory()
    return quiet_runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader={
            "dataset": randomness.ReplayableDataset(folders["train"]),
            "sampler": {"type": "ReplayableSampler"},
            "batch_sampler": {"type": "ResumableBatchSampler", "drop_last": True},
            "batch_size": training.batch_size // ranks.world_size(),
            **loader,
        },
        train_cfg={
            "type": "ResumableTrainLoop",
            "max_epochs": training.epochs,
            "val_interval": math.ceil(training.epochs / _EVALUATIONS),
        },
        optim_wrapper={"type": training.wrapper_type(), "optimizer": optimizer},
        param_scheduler=_schedulers(training, steps, tricks),
        val_dataloader={
            "dataset": folders["val"],
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "batch_sampler": {"type": "BatchesOfARank"},
            "batch_size": min(training.batch_size, _EVALUATED_TOGETHER),
            **loader,
        },
        val_cfg={"fp16": training.wrapper_type() != "OptimWrapper"},
        val_evaluator={"type": "TopK", "shared": True},
        default_hooks={"checkpoint": None},
        custom_hooks=[
            {"type": "SeedIterations"},
            {"type": "ChannelsLast"},
            {"type": "FusedSgd"},
            *hooks,
        ],
        seed=training.seed,
    )


def _schedulers(training: Training, steps: int, tricks: Sequence[Trick]) -> list[dict[str, Any]]:
    """Schedulers in iterations, changed by tricks; steps keep their share of the epochs."""
    recipe = training.row.recipe
    assert recipe is not None
    total = training.epochs * steps
    milestones = [total * quarter // 4 for quarter in (1, 2, 3)]
    schedulers: list[dict[str, Any]] = [
        {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.1, "by_epoch": False}
    ]
    for trick in tricks:
        schedulers = trick.schedulers(schedulers, recipe.epochs, total)
    return schedulers


def _teacher(training: Training, classes: list[str]) -> nn.Module:
    """The teacher's network with its weights, including the head.

    Files that were trained here state their classes. For other files, only the number of classes is
    checked.
    """
    recipe = training.row.recipe
    assert recipe is not None
    path = Path(training.teacher)
    own = read_own_metadata(path)
    if own.get("classes", classes) != classes:
        raise UserError(
            f"The teacher '{path}' was trained on other classes than '{training.data}' has, or in "
            "another order; a teacher must have been trained on the same class folders."
        )
    architecture = own.get("architecture") or zoo.find(recipe.teacher).architecture
    require_known(architecture)
    tensors = weights.of_network(architecture, weights.read(path, architecture), str(path))
    return with_head(
        architecture,
        tensors,
        str(path),
        classes=len(classes),
        otherwise=f"A teacher needs a head for the class folders of '{training.data}'.",
    )


def _metadata(
    training: Training,
    folders: dict[str, ImageFolder],
    metrics: dict[str, float],
    curve: Curve,
) -> dict[str, Any]:
    assert training.row.recipe is not None
    seen = len(folders["train"]) // training.batch_size * training.batch_size * training.epochs
    return {
        "version": TRAINING_VERSION,
        "row": training.row.name,
        "architecture": training.row.architecture,
        "recipe": training.row.recipe.content(),
        "identity": training.identity,
        "seed": training.seed,
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "processes": ranks.world_size(),
        "image_size": training.image_size,
        "lr": scaled_lr(training.base_lr, training.batch_size),
        "precision": training.wrapper_type(),
        "authors_code": training.authors_code,
        **({"teacher": _teacher_record(Path(training.teacher))} if training.teacher else {}),
        "min_area": training.min_area,
        "mean": augmentation.MEAN,
        "std": augmentation.STD,
        "classes": folders["train"].classes,
        "data": {
            "name": training.data.resolve().name,
            "fingerprint": training.fingerprints["train"],
            "images": {split: len(folder) for split, folder in folders.items()},
        },
        "metrics": metrics,
        "history": {"training": curve.points, "evaluations": curve.evaluations},
        "seconds": curve.seconds,
        "images_per_second": seen / max(curve.seconds, 1e-9),
        "versions": {"torch": torch.__version__, "timm": timm.__version__},
    }


def _teacher_record(teacher: Path) -> dict[str, str]:
    """The weights that taught; they need not be those of the teacher in the recipe."""
    row = read_own_metadata(teacher).get("row", "")
    return {"file": teacher.name, "row": row, "sha256": sha256(teacher)}


def _write(output: Path, model: Classifier, metadata: dict[str, Any]) -> None:
    """Write the network's tensors and the metadata, atomically."""
    from safetensors.torch import save

    tensors = {key: value.contiguous() for key, value in model.network.state_dict().items()}
    write_atomically(output, save(tensors, {METADATA_KEY: json.dumps(metadata)}), "--output")
