"""From a cell to the config of MMEngine's runner."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.openmmlab.feature_shape import STRIDES, feature_shape
from transfer.compat.foreign_configs import fault_of_setting, nested
from transfer.compat.registered import require_registered
from transfer.datasets.data_set import (
    DataSet,
    Detection,
    DetectionSplit,
    MaskSplit,
    Segmentation,
)
from transfer.datasets.listing import list_all
from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import (
    kind_of,
    nodes,
    place_channels,
    place_classes,
    read_maps,
)
from transfer.protocols.protocols import config_file
from transfer.protocols.shared_batch import share_out
from transfer.protocols.toolbox_config import adapted
from transfer.protocols.training_length import set_epochs
from transfer.records.cells import Cell
from transfer.records.settings import EPOCHS, WITHOUT


def compose(
    cell: Cell,
    data: DataSet,
    *,
    weights: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    outcomes: Path | None = None,
) -> Config:
    """The resolved config of a cell: the protocol's, with backbone, data, seed and precision set.

    Args:
        cell: The cell to fine-tune.
        data: Its data set.
        weights: File of the classifier's weights, or the source of random ones.
        mean: Channel means of the classifier's preprocessing, RGB, 0 to 255.
        std: Channel standard deviations, likewise.
        outcomes: File for the per-image results.

    Raises:
        UserError: The network does not fit the protocol, an override names something forbidden, or
            a protocol of the user's own has a setting that cannot be placed.
    """
    with _naming(cell):
        cfg = _protocol_config(cell)
        _set_backbone(cfg.model, cell, weights)
        _set_data(cfg, data.detection if cell.task == "detection" else data.segmentation)
        cfg.model.data_preprocessor.update(mean=list(mean), std=list(std), bgr_to_rgb=True)
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            evaluator.outcomes = str(outcomes) if outcomes else None
        _set_loop(cfg)
        _set_precision(cfg, cell.precision)
    cfg.randomness = {"seed": cell.seed}
    changed = dict(cell.overrides)
    left_out = changed.get(WITHOUT, ())
    if epochs := changed.get(EPOCHS, 0):
        set_epochs(cfg, epochs, _train_images(data, cell.task))
    _add_hook(cfg, "Speed", **({"without": list(left_out)} if left_out else {}))
    _override(cfg, cell)
    if cell.processes > 1:
        share_out(cfg, cell.processes)
    return cfg


def _protocol_config(cell: Cell) -> Config:
    """The config of a cell's protocol alone."""
    if cell.protocol_config:
        return adapted(cell.protocol_config)
    return Config.fromfile(config_file(cell.task, cell.protocol))


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Name the protocol whose setting cannot be placed."""
    try:
        yield
    except Misfit as error:
        raise UserError(f"Protocol '{cell.protocol}': {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if not cell.protocol_config:
            raise
        raise UserError(
            f"Protocol '{cell.protocol}' has a form that is not known ({type(error).__name__}: "
            f"{brief(error)}); compare its file with a config of the toolbox."
        ) from error


def _train_images(data: DataSet, task: str) -> int:
    """Number of training images of a task."""
    listed = list_all(data).train.get(task, ())
    return len(dict.fromkeys(listed))


def network_parts(cell: Cell) -> list[ConfigDict]:
    """The parts of a cell's config made from its network, without weights.

    Raises:
        UserError: The network gives no feature maps.
    """
    with _naming(cell):
        cfg = _protocol_config(cell)
        _set_backbone(cfg.model, cell, weights="")
    _override(cfg, cell)
    shared = cfg.model.get("roi_head", {}).get("shared_head")
    return [cfg.model.backbone, *([shared] if shared else [])]


def _override(cfg: Config, cell: Cell) -> None:
    """Set what a cell overrides.

    A cell's values are tuples all the way down, since it is hashed. Where the config has a list,
    the class may insist on one: ``RandomResize`` takes a list of tuples, not a tuple of tuples.
    """
    settings = _settings(cell, cfg.default_scope)
    cfg.merge_from_dict({name: _like(_at(cfg, name), value) for name, value in settings.items()})


def _at(cfg: Config, name: str) -> Any:
    """The config's own value under a dotted name; None if it has none."""
    node: Any = dict(cfg.items())
    for part in name.split("."):
        node = entry(node, part)
    return node


def entry(node: Any, name: str) -> Any:
    """One step of a dotted name down a config; None if there is nothing of that name."""
    if isinstance(node, list | tuple):
        return node[int(name)] if name.isdecimal() and int(name) < len(node) else None
    return node.get(name) if isinstance(node, dict) else None


def _like(own: Any, value: Any) -> Any:
    """A value with lists where the config's own value has them, at every depth."""
    if not isinstance(own, list | tuple) or not isinstance(value, tuple):
        return value
    parts = [_like(own[min(i, len(own) - 1)] if own else None, v) for i, v in enumerate(value)]
    return parts if isinstance(own, list) else tuple(parts)


def _settings(cell: Cell, scope: str) -> dict[str, Any]:
    """The overrides of a cell, by dotted names.

    Raises:
        UserError: An override names something forbidden.
    """
    ours = (WITHOUT, EPOCHS)
    settings = {name: value for name, value in cell.overrides if name not in ours}
    for name, value in settings.items():
        if fault := fault_of_setting(name, value):
            raise UserError(f"The overrides of {cell.name} were refused: {fault}.")
    tree = [nested(name, value) for name, value in settings.items()]
    require_registered(tree, scope, f"The overrides of {cell.name}")
    return settings


_READ = ("data_root", "dataset_type", "default_scope", "log_level")
"""Texts at the top of configs that records keep."""


def resolved(cfg: Config) -> dict[str, Any]:
    """The config as plain data, without the locations of files.

    Texts at the top are left out where no run reads them: variables of the file, such as the
    address of a Swin's weights, which the file puts in several places.
    """
    plain = json.loads(json.dumps(cfg.to_dict()))
    unread = [key for key, value in plain.items() if isinstance(value, str) and key not in _READ]
    for key in unread:
        del plain[key]
    for evaluator in (plain["val_evaluator"], plain["test_evaluator"]):
        evaluator["outcomes"] = None
    for part in nodes(plain):
        if "data_root" in part:
            part["data_root"] = ""
        if "weights" in part:
            part["weights"] = bool(part["weights"])
    return plain


def located(config: dict[str, Any], data: DataSet) -> Config:
    """A config from :func:`resolved` for testing on a data set, without a classifier to load.

    The data set provides the files and their locations, which a record lacks.
    """
    loader = ConfigDict(_with_tuples(config["val_dataloader"]))
    for node in nodes(loader.dataset):
        if "data_root" in node:
            # A data set without one of these has no such key.
            for choice in ("suffix", "mask_suffix", "exclude"):
                node.pop(choice, None)
    if config["default_scope"] == "mmdet":
        assert data.detection is not None
        boxes = partial(_boxes, data=data.detection, splits=data.detection.test)
        loader.dataset = _with_leaf(loader.dataset, boxes)
    else:
        assert data.segmentation is not None
        masks = partial(_masks, data=data.segmentation, split=data.segmentation.test)
        loader.dataset = _with_leaf(loader.dataset, masks)
    cfg = Config({**config, "val_dataloader": loader})
    for node in nodes(cfg.model):
        if "weights" in node:  # of the backbone and of a head made from its last stage
            node.weights = None
    return cfg


def _with_tuples(value: Any) -> Any:
    """JSON made lists of the pipeline's tuples; Resize takes a list for several scales."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    if isinstance(value, list):
        numbers = all(isinstance(entry, int | float) for entry in value)
        return tuple(value) if numbers else [_with_tuples(entry) for entry in value]
    return value


def _set_backbone(model: ConfigDict, cell: Cell, weights: str) -> None:
    """Set the network, the channels of neck or heads, and unfreeze random weights.

    A protocol that freezes the whole backbone freezes random weights too: its control is random
    features.
    """
    shape = feature_shape(cell.architecture)
    channels = shape.channels
    indices = model.backbone.get("out_indices", range(len(channels)))
    place_channels(model, [channels[index] for index in indices], channels[-1])
    shared = model.get("roi_head", {}).get("shared_head")
    is_fixed = model.backbone.get("frozen_stages", -1) == len(STRIDES)
    trained_from_scratch = cell.scratch and not is_fixed
    for part in (model.backbone, shared) if shared else (model.backbone,):
        part.update(architecture=cell.architecture, weights=weights or None)
        if trained_from_scratch:
            # Random weights with a frozen stem and fixed BN cannot be trained.
            part.update(norm_eval=False, norm_frozen=False)
    if trained_from_scratch:
        model.backbone.frozen_stages = -1
    if shape.adds_parts and (read := read_maps(model, len(indices))) is not None:
        # The parts of other maps would be computed for nothing and get no gradient.
        model.backbone.read = [indices[place] for place in read]


def _add_hook(cfg: Config, name: str, **settings: Any) -> None:
    cfg.custom_hooks = [*cfg.custom_hooks, ConfigDict(type=name, **settings)]


def _set_data(cfg: Config, data: Detection | Segmentation | None) -> None:
    """Set classes and files of the data set."""
    assert data is not None
    place_classes(cfg.model, len(data.classes))
    if isinstance(data, Detection):
        _set_boxes(cfg, data)
        _add_hook(cfg, "PlacedSampling")
    else:
        _set_masks(cfg, data)


def _set_boxes(cfg: Config, data: Detection) -> None:
    train = cfg.train_dataloader
    train.dataset = _with_leaf(train.dataset, partial(_boxes, data=data, splits=data.train))
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset = _with_leaf(loader.dataset, partial(_boxes, data=data, splits=data.test))
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.headline_classes = list(data.headline_classes)


def _with_leaf(dataset: ConfigDict, leaf: Callable[[ConfigDict], ConfigDict]) -> ConfigDict:
    """A protocol's data set with its innermost ones, of which the first counts, replaced.

    Args:
        dataset: The data set, perhaps wrapped.
        leaf: Makes the substitute.
    """
    if dataset.type == "ConcatDataset" or "datasets" in dataset:
        return leaf(dataset.datasets[0])
    if "dataset" in dataset:
        return ConfigDict({**dataset, "dataset": _with_leaf(dataset.dataset, leaf)})
    return leaf(dataset)


def _boxes(leaf: ConfigDict, *, data: Detection, splits: Sequence[DetectionSplit]) -> ConfigDict:
    """The splits of a data set, read with the options of a protocol's."""
    if data.layout == "coco":
        leaf = ConfigDict({**leaf})
        leaf.pop("difficult_is_positive", None)  # COCO has no difficult objects
    leaves = [
        ConfigDict(
            {
                **leaf,
                "data_root": str(data.root),
                "metainfo": {"classes": list(data.classes)},
                **_reader(data.layout, split),
                **_choice(split.suffix, data.excluded),
            }
        )
        for split in splits
    ]
    if len(leaves) == 1:
        return leaves[0]
    return ConfigDict(type="ConcatDataset", datasets=leaves)


def _reader(layout: str, split: DetectionSplit) -> dict[str, Any]:
    """The reader of a split, and its place under the data set's root."""
    folder = split.folder or "."  # the root itself; an empty name would give an absolute path
    if layout == "coco":
        return {
            "type": "CocoBoxes",
            "ann_file": split.split,
            "data_prefix": {"img": f"{folder}/"},
        }
    return {
        "type": "VocBoxes",
        "ann_file": f"{folder}/ImageSets/Main/{split.split}.txt",
        "data_prefix": {"sub_data_root": f"{folder}/"},
    }


def _choice(suffix: str, excluded: Sequence[str], mask_suffix: str = "") -> dict[str, Any]:
    """The files of a split that its data set's file selects."""
    chosen = {"suffix": suffix, "mask_suffix": mask_suffix, "exclude": list(excluded)}
    return {name: value for name, value in chosen.items() if value}


def smallest_box(cfg: Config) -> int:
    """Side in pixels below which a box in VOC's layout counts as background; 0 for none."""
    filters = [part.get("filter_cfg") or {} for part in nodes(cfg.train_dataloader.dataset)]
    return max(kept.get("bbox_min_size") or 0 for kept in filters)


def _set_masks(cfg: Config, data: Segmentation) -> None:
    train = cfg.train_dataloader
    train.dataset = _with_leaf(train.dataset, partial(_masks, data=data, split=data.train))
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset = _with_leaf(loader.dataset, partial(_masks, data=data, split=data.test))
    for pipeline in pipelines(cfg):
        for step in pipeline:
            if kind_of(step) == "LoadAnnotations":
                step.pop("reduce_zero_label", None)  # the data set does it
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.headline_classes = list(data.headline_classes)


def _masks(leaf: ConfigDict, *, data: Segmentation, split: MaskSplit) -> ConfigDict:
    return ConfigDict(
        {
            **leaf,
            "type": "IndexMasks",
            "data_root": str(data.root),
            "ann_file": split.list,
            "data_prefix": {"img_path": split.images, "seg_map_path": split.masks},
            "reduce_zero_label": data.zero_is_ignored,
            "ignore_index": data.ignore_index,
            "metainfo": {"classes": list(data.classes)},
            **_choice(split.suffix, data.excluded, split.mask_suffix),
        }
    )


def pipelines(cfg: Config) -> list[list[ConfigDict]]:
    """Every pipeline of the loaders, each a list of steps."""
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    return [part["pipeline"] for loader in loaders for part in nodes(loader) if "pipeline" in part]


def _set_loop(cfg: Config) -> None:
    """Set the protocol's length of training, in a loop that can resume anywhere."""
    loop = cfg.train_cfg
    length = "max_epochs" if loop.type == "EpochBasedTrainLoop" else "max_iters"
    cfg.train_cfg = ConfigDict({"type": "ResumableTrainLoop", length: loop[length]})
    loader = cfg.train_dataloader
    batches = loader.get("batch_sampler") or {}
    loader.batch_sampler = ConfigDict(
        type="ResumableBatchSampler",
        by_aspect_ratio=kind_of(batches) == "AspectRatioBatchSampler",
        drop_last=batches.get("drop_last", loader.pop("drop_last", False)),
    )


def _set_precision(cfg: Config, precision: str) -> None:
    if precision == "bfloat16":
        cfg.optim_wrapper.type = "Bfloat16OptimWrapper"
        cfg.val_cfg.fp16 = True
