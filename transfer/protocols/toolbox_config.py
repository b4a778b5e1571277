"""A toolbox's own config in the form of this project's protocols.

Composition then places backbone, classes, data, seed and precision in it as in any other protocol.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

from mmengine.config import Config, ConfigDict
from mmengine.utils import import_modules_from_strings

from backbones.common.errors import UserError
from backbones.common.escape import brief
from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import nodes
from transfer.protocols.pyramid_like import pyramid_like

_UNITS = {"EpochBasedTrainLoop": "max_epochs", "IterBasedTrainLoop": "max_iters"}
_REPLAYED = "ReplayableDataset"

_SAMPLERS = ("DefaultSampler", "InfiniteSampler", "ReplayableSampler")
"""Samplers that take each image once an epoch."""

_BATCH_SAMPLERS = ("AspectRatioBatchSampler", "BatchSampler")

_OF_ANY_DATA = ("type", "pipeline", "filter_cfg", "test_mode", "difficult_is_positive")
"""Options of a data set that are kept; others describe its own files."""

_CHECKING_HOOKS = ("NumClassCheckHook", "CheckInvalidLossHook", "SeedIterations")
"""Hooks that change no result, and the one that every protocol has."""

_CONSTRUCTORS = (None, "DefaultOptimWrapperConstructor", "LayerDecay")
"""Constructors of optimizers that serve any backbone."""

_OTHER_ANNOTATIONS = ("with_seg", "with_keypoints", "with_text", "with_track")
_OTHER_LOADERS = ("LoadPanopticAnnotations", "LoadProposals", "LoadTrackAnnotations")


def adapted(text: str) -> Config:
    """A config in the form of this project's protocols.

    Args:
        text: The config as Python literals.

    Raises:
        Misfit: A setting has no counterpart here.
    """
    cfg = Config(ast.literal_eval(text))
    _import(cfg)
    _adapt_model(cfg)
    _adapt_data(cfg)
    _adapt_training(cfg)
    _adapt_testing(cfg)
    return cfg


def _import(cfg: Config) -> None:
    """Import the modules that the config needs, which register its classes."""
    imports = cfg.pop("custom_imports", None)
    if not imports:
        return
    try:
        import_modules_from_strings(**imports)
    except Exception as error:  # a module may raise anything
        raise UserError(
            f"The protocol imports {imports.get('imports')!r}, which fails ({brief(error)}): "
            "add the folder of these modules to PYTHONPATH."
        ) from error


def _adapt_model(cfg: Config) -> None:
    """Replace the backbone, and the last stage in a C4 detector."""
    model = cfg.model
    model.pop("pretrained", None)
    if not isinstance(model.get("data_preprocessor"), dict):
        kind = "DetDataPreprocessor" if cfg.default_scope == "mmdet" else "SegDataPreProcessor"
        raise Misfit(
            "model.data_preprocessor", "is missing", f'write data_preprocessor=dict(type="{kind}")'
        )
    if "language_model" in model:
        raise Misfit(
            "model.language_model",
            "reads text, which no data set here has",
            "choose a detector without it",
        )
    model.backbone = pyramid_like(model.backbone, cfg.default_scope)
    if shared := model.get("roi_head", {}).get("shared_head"):
        if shared.get("type") not in ("ResLayer", "RoIStage"):
            raise Misfit(
                "model.roi_head.shared_head",
                f"({shared.get('type')}) is not the last stage of a ResNet",
                "choose a detector with a neck",
            )
        kept = ("norm_eval", "norm_frozen")
        own = model.backbone if shared.type == "ResLayer" else shared
        settings = {name: own[name] for name in kept if name in own}
        model.roi_head.shared_head = ConfigDict(type="RoIStage", **settings)
    for node in nodes([model[name] for name in model if name != "backbone"]):
        if node.get("type") == "Pretrained":
            raise Misfit(
                "model: init_cfg",
                f"loads {node.get('checkpoint')!r}, but only a row's own weights may be loaded",
                "write init_cfg=None there",
            )


def _adapt_data(cfg: Config) -> None:
    """Make the loaders replayable, and take from data sets what is specific to their files."""
    for name in ("train_dataloader", "val_dataloader"):
        loader = cfg.get(name) or ConfigDict()
        for required in ("dataset", "batch_size"):
            if required not in loader:
                raise Misfit(f"{name}.{required}", "is missing", f"write {name} = dict(…)")
        if not loader.get("num_workers"):
            loader.pop("persistent_workers", None)
        loader.dataset = _of_any_data(loader.dataset)
        _check_annotations(loader.dataset, name)
    train = cfg.train_dataloader
    _require_known(train, "sampler", _SAMPLERS)
    _require_known(train, "batch_sampler", _BATCH_SAMPLERS)
    if train.dataset.get("type") != _REPLAYED:
        train.dataset = ConfigDict(type=_REPLAYED, dataset=train.dataset)
    train.sampler = ConfigDict(type="ReplayableSampler", endless=_unit(cfg) == "max_iters")
    cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)


def _of_any_data(dataset: ConfigDict) -> ConfigDict:
    """A data set and what it wraps, without the options that describe its own files."""
    if "datasets" in dataset:
        inner = [_of_any_data(one) for one in dataset.datasets]
        return ConfigDict({**dataset, "datasets": inner})
    if "dataset" in dataset:
        return ConfigDict({**dataset, "dataset": _of_any_data(dataset.dataset)})
    return ConfigDict({name: dataset[name] for name in _OF_ANY_DATA if name in dataset})


def _check_annotations(dataset: ConfigDict, name: str) -> None:
    """Check that the steps load only what the data sets here have, and what metrics need."""
    steps = [(str(node.get("type")).rpartition(".")[2], node) for node in nodes(dataset)]
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
    kind = (loader.get(name) or {}).get("type")
    if kind not in (None, *known):
        raise Misfit(
            f"train_dataloader.{name}",
            f"is a {kind}, which would not take each image once an epoch, in a replayable order",
            f'write {name}=dict(_delete_=True, type="{known[0]}")',
        )


def _unit(cfg: Config) -> str:
    """``max_epochs`` or ``max_iters``, the unit of the training's length."""
    loop = cfg.get("train_cfg") or ConfigDict()
    kind = loop.get("type", "")
    default = "max_epochs" if "max_epochs" in loop else "max_iters"
    unit = _UNITS.get(kind, "") if kind else default
    if not unit or unit not in loop:
        raise Misfit(
            "train_cfg",
            f"is {dict(loop)!r}, which states no length in epochs or iterations",
            'write train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=12)',
        )
    return unit


def _adapt_training(cfg: Config) -> None:
    """Loop, optimizer, schedule and hooks in the form that can resume."""
    unit = _unit(cfg)
    kind = next(loop for loop, of_loop in _UNITS.items() if of_loop == unit)
    cfg.train_cfg = ConfigDict({"type": kind, unit: cfg.train_cfg[unit]})
    wrapper = cfg.get("optim_wrapper") or ConfigDict()
    if "optimizer" not in wrapper:
        raise Misfit("optim_wrapper.optimizer", "is missing", "write one")
    if (constructor := wrapper.get("constructor")) not in _CONSTRUCTORS:
        raise Misfit(
            "optim_wrapper.constructor",
            f"is {constructor}, which knows other backbones only",
            'write optim_wrapper = dict(constructor="LayerDecay", paramwise_cfg=dict('
            "_delete_=True, layer_decay=0.9)), which knows all backbones here, or "
            "dict(_delete_=True, optimizer=dict(…)) without a constructor",
        )
    for of_amp in ("loss_scale", "dtype"):  # the precision is the run's
        wrapper.pop(of_amp, None)
    wrapper.type = "OptimWrapper"
    schedule = cfg.get("param_scheduler")
    if not schedule:
        raise Misfit(
            "param_scheduler",
            "is missing",
            'write param_scheduler = [dict(type="ConstantLR", factor=1.0)], or another',
        )
    cfg.param_scheduler = [schedule] if isinstance(schedule, dict) else schedule
    own = int(cfg.train_dataloader.batch_size)
    stated = (cfg.get("auto_scale_lr") or {}).get("base_batch_size", own)
    cfg.auto_scale_lr = ConfigDict(enable=True, base_batch_size=int(stated))
    for number, hook in enumerate(cfg.get("custom_hooks") or []):
        if hook.get("type") not in _CHECKING_HOOKS:
            raise Misfit(
                f"custom_hooks.{number}",
                f"is a {hook.get('type')}, whose part of the training a resumed run would lack",
                "write custom_hooks = []",
            )
    cfg.custom_hooks = [ConfigDict(type="SeedIterations")]
    cfg.setdefault("env_cfg", ConfigDict())


def _adapt_testing(cfg: Config) -> None:
    """The metric of the task, in the form that the config asks for."""
    given = cfg.get("val_evaluator") or ConfigDict()
    asked = list(given) if isinstance(given, list | tuple) else [given]
    if cfg.default_scope == "mmdet":
        evaluator = ConfigDict(type="BoxAP", form=next(_forms(asked), "coco"))
    else:
        evaluator = ConfigDict(type="MaskIoU")
    cfg.val_evaluator, cfg.test_evaluator = evaluator, ConfigDict(evaluator)
    cfg.val_cfg, cfg.test_cfg = ConfigDict(type="ValLoop"), ConfigDict(type="TestLoop")


def _forms(evaluators: list[ConfigDict]) -> Iterator[str]:
    """The forms of average precision that evaluators compute, where they say it."""
    for evaluator in evaluators:
        if evaluator.get("type") == "BoxAP":
            yield evaluator.get("form", "11points")
        elif evaluator.get("type") == "VOCMetric":
            yield evaluator.get("eval_mode", "11points")
