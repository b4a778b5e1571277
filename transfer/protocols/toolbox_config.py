"""A toolbox's own config in the form of this project's protocols.

Composition then places backbone, classes, data, seed and precision in it as in any other protocol.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from mmengine.config import Config, ConfigDict
from mmengine.utils import import_modules_from_strings

from backbones.common.errors import UserError
from backbones.common.escape import brief
from transfer.protocols.imported_sources import SOURCES, require_same
from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import kind_of, nodes
from transfer.protocols.pyramid_like import pyramid_like
from transfer.protocols.toolbox_data import adapt_data, require_ignored
from transfer.protocols.toolbox_training import adapt_training


def adapted(text: str) -> Config:
    """A config in the form of this project's protocols.

    Args:
        text: The config as Python literals.

    Raises:
        Misfit: A setting has no counterpart here.
    """
    tree = ast.literal_eval(text)
    for node in nodes(tree):
        node.pop("_delete_", None)  # MMEngine leaves it where nothing was inherited
    cfg = Config(tree)
    _import(cfg)
    _adapt_model(cfg)
    adapt_data(cfg)
    adapt_training(cfg)
    _adapt_testing(cfg)
    return cfg


def _import(cfg: Config) -> None:
    """Import the modules that the config needs, which register its classes."""
    imports, planned = cfg.pop("custom_imports", None), cfg.pop(SOURCES, {})
    if not imports:
        return
    require_same(planned)
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
    for order in ("bgr_to_rgb", "rgb_to_bgr"):
        model.data_preprocessor.pop(order, None)  # that of every row is set by composition
    model.backbone = pyramid_like(model.backbone, cfg.default_scope)
    if shared := model.get("roi_head", {}).get("shared_head"):
        if kind_of(shared) not in ("ResLayer", "RoIStage"):
            raise Misfit(
                "model.roi_head.shared_head",
                f"({shared.get('type')}) is not the last stage of a ResNet",
                "choose a detector with a neck",
            )
        kept = ("norm_eval", "norm_frozen")
        own = model.backbone if kind_of(shared) == "ResLayer" else shared
        settings = {name: own[name] for name in kept if name in own}
        model.roi_head.shared_head = ConfigDict(type="RoIStage", **settings)
    if cfg.default_scope == "mmseg":
        require_ignored(model, "model")
    for node in nodes([model[name] for name in model if name != "backbone"]):
        if kind_of(node) == "Pretrained":
            raise Misfit(
                "model: init_cfg",
                f"loads {node.get('checkpoint')!r}, but only a row's own weights may be loaded",
                "write init_cfg=None there",
            )


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
        if kind_of(evaluator) == "BoxAP":
            yield evaluator.get("form", "11points")
        elif kind_of(evaluator) == "VOCMetric":
            yield evaluator.get("eval_mode", "11points")
