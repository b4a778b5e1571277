"""A trial of a composed config of the user's own: all is built, and one small image is tested."""

from __future__ import annotations

import copy

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from mmseg.structures import SegDataSample

from backbones.common.errors import UserError
from backbones.common.escape import brief
from transfer.protocols.compose import pipelines
from transfer.protocols.training_length import require_schedule

_SIDE = 256
"""Side of the image in pixels; detection transformers need some thousand positions."""


def require_working(cfg: Config, protocol: str, backbone: str) -> None:
    """Check that the parts of a config can be built and fit together.

    Args:
        cfg: A composed config.
        protocol: Its protocol's name, for messages.
        backbone: The row's name, likewise.

    Raises:
        UserError: A step of a pipeline or the network cannot be built, or a part of the network
            takes other maps than it gets, or needs an operator that is not available.
    """
    require_schedule(cfg, protocol)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.random.fork_rng(devices=[]):
        for pipeline in pipelines(cfg):
            for step in pipeline:
                try:
                    TRANSFORMS.build(step)
                except Exception as error:  # the toolboxes may raise anything
                    raise UserError(
                        f"Protocol '{protocol}': the step {step.get('type')} of a pipeline cannot "
                        f"be built ({brief(error)})."
                    ) from error
        try:
            _test_an_image(cfg)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"Protocol '{protocol}' with {backbone}: its network, a {cfg.model.get('type')}, "
                f"cannot test an image of {_SIDE} × {_SIDE} pixels ({brief(error, 200)}). No rule "
                "sets the channels of some part of it, or a part is not supported."
            ) from error


def _test_an_image(cfg: Config) -> None:
    model = copy.deepcopy(cfg.model)
    model.backbone.weights = None
    if shared := model.get("roi_head", {}).get("shared_head"):
        shared.weights = None
    network = MODELS.build(model).eval()
    shape = (_SIDE, _SIDE)
    sample = (DetDataSample if cfg.default_scope == "mmdet" else SegDataSample)(
        metainfo={
            **dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), shape),
            "scale_factor": (1.0, 1.0),
        }
    )
    with torch.no_grad():
        network.predict(torch.zeros(1, 3, *shape), [sample])
