"""A trial of a composed config of the user's own on small made-up images.

All is built, one image is tested, and the loss of two is computed.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

from backbones.common.errors import UserError
from backbones.common.escape import brief
from transfer.protocols.compose import pipelines
from transfer.protocols.custom_keys import require_matching
from transfer.protocols.made_up_batch import made_up_batch, sample_of
from transfer.protocols.misfit import Misfit
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
            takes other maps than it gets, or needs an operator that is not available; a setting
            makes the loss fail; or a rule of the optimizer names a part that no row has.
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
        place = f"Protocol '{protocol}' with {backbone}"
        name = f"its network ({cfg.model.get('type')})"
        try:
            network = _built(cfg)
            _test_an_image(network, cfg.default_scope)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{place}: {name} cannot test an image of {_SIDE} × {_SIDE} pixels "
                f"({brief(error, 200)}). No rule sets the channels of some part of it, or a part "
                "is not supported."
            ) from error
        try:
            require_matching(cfg, [name for name, _ in network.named_parameters()])
        except Misfit as error:
            raise UserError(f"{place}: {error}") from error
        try:
            _compute_a_loss(network, cfg)
        except Exception as error:
            raise UserError(
                f"{place}: {name} cannot compute the loss of two made-up images "
                f"({brief(error, 200)}), so it could not be trained. Correct the settings of its "
                "heads and losses, or what the steps of the training pipeline load."
            ) from error


def _built(cfg: Config) -> Any:
    """The model with random weights."""
    model = copy.deepcopy(cfg.model)
    model.backbone.weights = None
    if shared := model.get("roi_head", {}).get("shared_head"):
        shared.weights = None
    model.data_preprocessor.pop("batch_augments", None)  # some read the runner's state
    network = MODELS.build(model)
    with torch.no_grad():
        for parameter in network.parameters():  # some are uninitialised memory
            parameter.nan_to_num_(0.0, 0.0, 0.0).clamp_(-10, 10)
    return revert_sync_batchnorm(network)  # as the runner does in a single process


def _test_an_image(network: BaseModel, scope: str) -> None:
    with torch.no_grad():
        network.eval()
        network.predict(torch.zeros(1, 3, _SIDE, _SIDE), [sample_of(scope, _SIDE)])


def _compute_a_loss(network: BaseModel, cfg: Config) -> None:
    hub = MessageHub.get_current_instance()
    for count in ("iter", "epoch"):  # some losses grow with them
        if hub.get_info(count) is None:
            hub.update_info(count, 0)  # a runner sets its own
    with torch.no_grad():
        network.train()
        batch = network.data_preprocessor(made_up_batch(cfg, _SIDE), training=True)
        network.parse_losses(network(**batch, mode="loss"))
