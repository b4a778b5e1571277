"""A finished cell's model, rebuilt from its record, applied to test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from backbones.common.errors import UserError
from backbones.runtime.precision import evaluation_dtype
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.compat.foreign_configs import fault_of_record
from transfer.compat.network_size import MOST_WEIGHTS, weights_in
from transfer.compat.registered import require_registered
from transfer.datasets.data_set import DataSet
from transfer.finetune import final_weights
from transfer.protocols import compose
from transfer.records.outcomes import image_names
from transfer.records.records import Record
from transfer.report.predictions.side_by_side import SHOWN_SCORE, Boxes, Comparison

# Exceptions of MMEngine on a config that it cannot build.
_MISFITS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class FinishedCell:
    """A recorded cell, ready to predict.

    Args:
        record: The cell's record.
        data: Its data set.
        folder: The cell's work folder with its weights.

    Attributes:
        names: Names of the test images, in order.
        classes: Names of the classes, in label order.

    Raises:
        UserError: The weights are missing, the data set differs, or the record's config is
            refused.
    """

    def __init__(self, record: Record, data: DataSet, folder: Path) -> None:
        cfg = _config(record, data)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            _require_bounded(cfg, record)
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                self.model = MODELS.build(cfg.model)
                self.dataset = DATASETS.build(cfg.val_dataloader.dataset)
            self._batch_size = int(cfg.val_dataloader.batch_size)
            self._autocast = _autocast(cfg, device)
        except _MISFITS as error:
            raise _refusal(record, f"it cannot be built ({error})") from error
        final_weights.restore(self.model, folder)
        self.model.to(device).eval()
        self.classes: Sequence[str] = self.dataset.metainfo["classes"]
        infos = [self.dataset.get_data_info(index) for index in range(len(self.dataset))]
        files = [info["img_path"] for info in infos]
        ids = [str(info.get("img_id", Path(info["img_path"]).stem)) for info in infos]
        self.names = image_names(files, ids)

    def compare(
        self, indices: Sequence[int], least_score: float = SHOWN_SCORE
    ) -> Iterator[Comparison]:
        """Predict test images by index, each in the batch of the evaluation.

        Images of a batch are padded to a common size, which slightly affects detections.

        Args:
            indices: Indices of test images.
            least_score: Detections with a lower score are not shown.
        """
        first, samples = -1, []
        for index in indices:
            if index - index % self._batch_size != first:
                first = index - index % self._batch_size
                samples = self._predict(range(first, first + self._batch_size))
            yield _comparison(samples[index - first], self.names[index], least_score)

    @torch.no_grad()
    def _predict(self, indices: range) -> list[Any]:
        there = [self.dataset[index] for index in indices if index < len(self.dataset)]
        with self._autocast:
            return self.model.test_step(pseudo_collate(there))


def _require_bounded(cfg: Config, record: Record) -> None:
    """Refuse a network that is too large for this machine's memory, before it is built.

    Raises:
        UserError: It has over :data:`MOST_WEIGHTS` weights.
    """
    if (found := weights_in(cfg.model, cfg.default_scope)) > MOST_WEIGHTS:
        reason = f"its network has {found:,} weights, more than the {MOST_WEIGHTS:,} that are built"
        raise _refusal(record, reason)


def _config(record: Record, data: DataSet) -> Config:
    """A record's config on a data set.

    Raises:
        UserError: It names something forbidden, or is not a cell's config.
    """
    try:
        config = dict(record.config)
    except (ValueError, RecursionError) as error:
        raise _refusal(record, f"it cannot be read ({error})") from error
    if fault := fault_of_record(config):
        raise _refusal(record, fault)
    try:
        cfg = compose.located(config, data)
        parts = [cfg.model, cfg.val_dataloader.dataset]
    except _MISFITS as error:
        raise _refusal(record, f"it is not the config of a run ({error})") from error
    require_registered(parts, cfg.default_scope, f"The config of the record '{record.path}'")
    return cfg


def _refusal(record: Record, reason: str) -> UserError:
    return UserError(
        f"The record '{record.path}' was refused because of its config: {reason}. Remove the "
        "record and repeat its run. SECURITY.md lists what a record may name."
    )


def _autocast(cfg: Config, device: str) -> torch.autocast:
    """The number format of the cell's evaluation."""
    enabled = bool(cfg.val_cfg.get("fp16"))
    return torch.autocast(device, evaluation_dtype(cfg.optim_wrapper), enabled=enabled)


def _comparison(sample: Any, name: str, least_score: float) -> Comparison:
    path = Path(sample.img_path)
    if "pred_sem_seg" not in sample:
        found = dataclasses.replace(_found(sample), least_score=least_score)
        return Comparison(path, _truth(sample), found, name)
    truth, found = (
        part.data.squeeze(0).cpu().numpy() for part in (sample.gt_sem_seg, sample.pred_sem_seg)
    )
    return Comparison(path, truth, found, name)


def _truth(sample: Any) -> Boxes:
    parts = (sample.gt_instances, sample.ignored_instances)
    return Boxes(
        frames=np.concatenate([_array(part.bboxes) for part in parts]),
        labels=np.concatenate([_array(part.labels) for part in parts]),
        difficult=np.repeat([False, True], [len(part) for part in parts]),
    )


def _found(sample: Any) -> Boxes:
    found = sample.pred_instances
    return Boxes(
        frames=_array(found.bboxes), labels=_array(found.labels), scores=_array(found.scores)
    )


def _array(value: Any) -> np.ndarray:
    value = getattr(value, "tensor", value).cpu()
    return value.float().numpy() if value.is_floating_point() else value.numpy()
