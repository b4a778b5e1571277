"""Any timm classifier with feature maps as an OpenMMLab backbone.

It is registered once, in MMEngine's root registry, so MMDetection and MMSegmentation build the same
class by the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from mmengine.dist import is_distributed
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.common.errors import UserError
from backbones.tricks.resnet_d import drop_unstrided_shortcut_pools
from backbones.weights import weights as weights_module
from backbones.zoo.networks import require_known

STRIDES = (4, 8, 16, 32)
"""Strides of the maps with OpenMMLab's indices 0 to 3, at output stride 32."""

_ANOTHER_SIZE = (192, 288)
"""An image size in pixels: multiples of 32 for which no network of timm is designed."""


@MODELS.register_module()
class TimmPyramid(BaseModule):
    """The feature maps of a timm classifier.

    Args:
        architecture: timm's name, or one of :mod:`backbones.zoo.networks`.
        out_indices: Maps to return; 0 to 3 are strides 4 to 32.
        frozen_stages: -1 trains everything; 0 freezes the stem; i also freezes stages 1 to i.
        norm_eval: Keep batch norms on their running statistics during training.
        norm_frozen: Also freeze gamma and beta of every batch norm.
        norm_sync: Synchronise batch norms over processes; no effect in a single process.
        output_stride: 32, 16 or 8; below 32, the last stages are dilated instead of strided.
        weights: A file, ``timm:<name>.<tag>``, an address, or None or ``"none"`` for random
            weights; loaded by ``init_weights``, which MMEngine's runner calls before training.

    Attributes:
        channels: Numbers of channels of the returned maps, for the neck.

    Raises:
        UserError: Unknown architecture, no maps at these strides, or no dilated form.
    """

    def __init__(
        self,
        architecture: str,
        *,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_frozen: bool = False,
        norm_sync: bool = False,
        output_stride: int = 32,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not -1 <= frozen_stages <= 4:
            raise UserError(f"frozen_stages is {frozen_stages}; it must be between -1 and 4.")
        self.architecture = architecture
        self.weights = weights
        self.norm_eval = norm_eval
        shape = feature_shape(architecture)
        levels = tuple(shape.levels[i] for i in out_indices)
        self.channels = [shape.channels[i] for i in out_indices]
        self.network = build_features(architecture, levels, output_stride)
        if norm_sync and is_distributed():
            # timm's conversion supports norms with an activation; torch's conversion, and
            # MMEngine's back to plain norms on a single device, would drop the activation.
            self.network = convert_sync_batchnorm(self.network)
        self.frozen_modules = self._freeze(shape, frozen_stages)
        if norm_frozen:
            for norm in self._norms():
                for parameter in norm.parameters():
                    parameter.requires_grad = False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, (B, channels[i], H / stride, W / stride) each, of (B, 3, H, W) images."""
        return tuple(self.network(images))

    def init_weights(self) -> None:
        """Load the classifier's weights; a mismatch is an error, never a warning."""
        weights_module.initialise(self.network, self.architecture, self.weights)

    def train(self, mode: bool = True) -> TimmPyramid:
        """Set training mode, except for frozen stages and, with ``norm_eval``, batch norms."""
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        if self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    def _freeze(self, shape: FeatureShape, frozen_stages: int) -> list[nn.Module]:
        """Freeze parameters up to a stage; returns the modules that must stay in eval mode."""
        for name, parameter in self.network.named_parameters():
            if shape.stage_of[name] <= frozen_stages:
                parameter.requires_grad = False
        return [
            module
            for module in self.network.modules()
            if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
        ]


@dataclass(frozen=True)
class FeatureShape:
    """The feature maps of a network.

    Attributes:
        levels: timm's indices of the maps at strides 4, 8, 16 and 32.
        channels: Their numbers of channels.
        stage_of: The stage of each parameter: 0 is the stem, i the stage that makes map i - 1.
    """

    levels: tuple[int, ...]
    channels: tuple[int, ...]
    stage_of: dict[str, int]


@cache
def feature_shape(architecture: str) -> FeatureShape:
    """Find the maps and stages of a network, without computing anything.

    The stages follow from the network's graph: a parameter belongs to the first map that depends on
    it. This works with all of timm's feature extractors.

    Raises:
        UserError: As for :class:`TimmPyramid`.
    """
    with torch.device("meta"):
        network = _create(architecture)
        reductions = network.feature_info.reduction()
        levels = tuple(_last_level(reductions, stride, architecture) for stride in STRIDES)
        maps = network(
            torch.zeros(2, *_own_size(network))
        )  # batch norms need more than one position
    channels = network.feature_info.channels()
    return FeatureShape(
        levels, tuple(channels[i] for i in levels), _stages(network, maps, reductions, levels)
    )


def _own_size(network: Any) -> tuple[int, int, int]:
    """Channels, height and width of the images for which a network is designed."""
    return (network.pretrained_cfg or {}).get("input_size", (3, 224, 224))


def require_maps(architecture: str) -> None:
    """Check that a network returns channels-first maps of images of any size.

    Nothing is computed. Swin and MaxViT, as timm builds them, accept only their training size.

    Raises:
        UserError: As for :class:`TimmPyramid`, or it does not.
    """
    feature_shape(architecture)
    with torch.device("meta"):
        network = _create(architecture)
        channels, height, width = _own_size(network)
        try:
            maps = network(torch.zeros(2, channels, *_ANOTHER_SIZE))
        except (AssertionError, RuntimeError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise UserError(
                f"'{architecture}' takes only images of {height} x {width} pixels ({why}), "
                "but detectors and segmenters use other sizes; choose a network for images of any "
                "size, such as a ResNet."
            ) from error
    if [each.shape[1] for each in maps] != network.feature_info.channels():
        raise UserError(
            f"'{architecture}' returns maps with their channels last, which necks and heads do not "
            "support; choose another network, such as a ResNet."
        )


def build_features(architecture: str, levels: tuple[int, ...], output_stride: int) -> nn.Module:
    """Build timm's feature extractor for these levels, dilated as in the authors' code."""
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride is {output_stride}; it must be 8, 16 or 32.")
    dilation = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        network = _create(architecture, out_indices=levels, **dilation)
    except (TypeError, NotImplementedError, AssertionError) as error:
        raise UserError(
            f"'{architecture}' cannot be dilated to output stride {output_stride}, as timm builds "
            "it; choose a network that can be dilated, such as a ResNet."
        ) from error
    drop_unstrided_shortcut_pools(network)
    return network


def _create(architecture: str, **options: Any) -> Any:
    require_known(architecture)
    try:
        return timm.create_model(architecture, features_only=True, **options)
    except (RuntimeError, AttributeError) as error:
        raise UserError(
            f"timm's '{architecture}' has no feature maps ({error}); choose another network."
        ) from error


def _last_level(reductions: list[int], stride: int, architecture: str) -> int:
    found = [level for level, reduction in enumerate(reductions) if reduction == stride]
    if not found:
        raise UserError(
            f"'{architecture}' has feature maps at strides {reductions} but not at {stride}; a "
            "pyramid needs strides 4, 8, 16 and 32."
        )
    return found[-1]


def _stages(
    network: Any, maps: list[Tensor], reductions: list[int], levels: tuple[int, ...]
) -> dict[str, int]:
    stage_of = {name: len(STRIDES) for name, _ in network.named_parameters()}
    before = [level for level in range(levels[0]) if reductions[level] < STRIDES[0]]
    order = [*levels[::-1], *before[-1:]]
    for stage, level in zip((4, 3, 2, 1, 0), order, strict=False):
        used = _leaves(maps[level])
        stage_of.update({name: stage for name, of in network.named_parameters() if id(of) in used})
    if not before:
        # Without a map at stride 2, the stem is what feeds the module of the first map.
        first = network.feature_info.module_name(levels[0]).replace(".", "_")
        for name, stage in stage_of.items():
            if stage == 1 and not name.replace(".", "_").startswith(first):
                stage_of[name] = 0
    return stage_of


def _leaves(tensor: Tensor) -> set[int]:
    """Ids of the parameters that a tensor depends on, by autograd's graph."""
    nodes: set[Any] = {tensor.grad_fn}
    leaves: set[int] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        found = {following for following, _ in getattr(node, "next_functions", ())} - nodes
        nodes |= found
        waiting += found
    return leaves
