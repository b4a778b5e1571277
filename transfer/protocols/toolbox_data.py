"""The loaders of a toolbox's own config in the form of this project's protocols."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config, ConfigDict

from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import kind_of, nodes
from transfer.protocols.toolbox_training import length_unit

_REPLAYED = "ReplayableDataset"

_SAMPLERS = ("DefaultSampler", "InfiniteSampler", "ReplayableSampler")
"""Samplers that take each image once an epoch."""

_BATCH_SAMPLERS = ("AspectRatioBatchSampler", "BatchSampler")

_OF_ANY_DATA = ("type", "pipeline", "filter_cfg", "test_mode", "difficult_is_positive")
"""Options of a data set that are kept; others describe its own files."""

_OTHER_ANNOTATIONS = ("with_seg", "with_keypoints", "with_text", "with_track")
_OTHER_LOADERS = ("LoadPanopticAnnotations", "LoadProposals", "LoadTrackAnnotations")

_PREPROCESSING = ("Normalize", "ImageToTensor", "ToTensor")
"""Steps that repeat the work of ``data_preprocessor``."""

_COLORS = ("color", "color_ignore_orientation")
"""Ways to load an image that give three channels."""

_IGNORED = 255
"""Value of pixels without a class."""


def adapt_data(cfg: Config) -> None:
    """Make the loaders replayable, and take from data sets what is specific to their files."""
    for name in ("train_dataloader", "val_dataloader"):
        loader = cfg.get(name) or ConfigDict()
        for required in ("dataset", "batch_size"):
            if required not in loader:
                raise Misfit(f"{name}.{required}", "is missing", f"write {name} = dict(…)")
        if not loader.get("num_workers"):
            loader.pop("persistent_workers", None)
        loader.dataset = _of_any_data(loader.dataset)
        _check_images(loader.dataset, name)
        _check_annotations(loader.dataset, name)
        if cfg.default_scope == "mmseg":
            require_ignored(loader.dataset, name)
    train = cfg.train_dataloader
    _require_known(train, "sampler", _SAMPLERS)
    _require_known(train, "batch_sampler", _BATCH_SAMPLERS)
    if kind_of(train.dataset) != _REPLAYED:
        train.dataset = ConfigDict(type=_REPLAYED, dataset=train.dataset)
    train.sampler = ConfigDict(type="ReplayableSampler", endless=length_unit(cfg) == "max_iters")
    cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)


def _of_any_data(dataset: ConfigDict) -> ConfigDict:
    """A data set and what it wraps, without the options that describe its own files."""
    if "datasets" in dataset:
        inner = [_of_any_data(one) for one in dataset.datasets]
        return ConfigDict({**dataset, "datasets": inner})
    if "dataset" in dataset:
        return ConfigDict({**dataset, "dataset": _of_any_data(dataset.dataset)})
    return ConfigDict({name: dataset[name] for name in _OF_ANY_DATA if name in dataset})


def _check_images(dataset: ConfigDict, name: str) -> None:
    """Check that the steps load images in colour, and leave to the preprocessor what it does."""
    for step in nodes(dataset):
        kind, color = kind_of(step), step.get("color_type", "color")
        if kind in _PREPROCESSING:
            raise Misfit(
                f"{name}: {kind}",
                "does in the pipeline what model.data_preprocessor does with every batch, so it "
                "would be done twice",
                "leave out this step",
            )
        if kind.startswith("Load") and color not in _COLORS:
            raise Misfit(
                f"{name}: {kind}",
                f"has color_type={color!r}, but the networks here take three channels",
                "leave out color_type",
            )


def require_ignored(tree: Any, name: str) -> None:
    """Check that pixels without a class have the value that data sets here give them.

    Raises:
        Misfit: Another one is ignored or padded with, so a class would not be trained.
    """
    for node in nodes(tree):
        for key in ("ignore_index", "seg_pad_val"):
            if node.get(key, _IGNORED) != _IGNORED:
                raise Misfit(
                    f"{name}: {kind_of(node)}.{key}",
                    f"is {node[key]!r}, but pixels without a class are {_IGNORED} in all data "
                    "here, and smaller numbers are classes",
                    f"write {key}={_IGNORED} there; which pixels have no class, the data set says",
                )


def _check_annotations(dataset: ConfigDict, name: str) -> None:
    """Check that the steps load only what the data sets here have, and what metrics need."""
    steps = [(kind_of(node), node) for node in nodes(dataset)]
    loading = [step for kind, step in steps if kind == "LoadAnnotations"]
    testing = name != "train_dataloader"
    for kind, step in steps:
        other = [option for option in _OTHER_ANNOTATIONS if step.get(option)]
        if kind in _OTHER_LOADERS or (kind == "LoadAnnotations" and other):
            raise Misfit(
                f"{name}: {kind}",
                f"loads annotations ({', '.join(other) or kind}) that no data set here has",
                "load boxes or masks only, and choose heads that need no others",
            )
    if not loading:
        raise Misfit(
            f"{name}: pipeline",
            "has no LoadAnnotations, but metrics need the annotations",
            'write dict(type="LoadAnnotations", …) in it; for tests, after the resizing',
        )
    for step in loading:
        if testing and step.get("with_mask"):
            step.with_mask = False  # detectors are judged by their boxes


def _require_known(loader: ConfigDict, name: str, known: tuple[str, ...]) -> None:
    kind = kind_of(loader.get(name) or {})
    if kind not in ("", *known):
        raise Misfit(
            f"train_dataloader.{name}",
            f"is {kind}, which would not take each image once an epoch, in a replayable order",
            f'write {name}=dict(_delete_=True, type="{known[0]}")',
        )
