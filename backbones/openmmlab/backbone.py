"""Any timm classifier with feature maps as an OpenMMLab backbone.

It is registered once, in MMEngine's root registry, so MMDetection and MMSegmentation build the same
class by the same name.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from mmengine.dist import is_distributed
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.common.errors import UserError
from backbones.openmmlab.feature_shape import (
    STRIDES,
    build_hierarchy,
    feature_shape,
    way_to_stride,
)
from backbones.openmmlab.plain_network import build_plain
from backbones.openmmlab.simple_pyramid import pyramid_level
from backbones.tricks.resnet_d import drop_unstrided_shortcut_pools
from backbones.weights import weights as weights_module


@MODELS.register_module()
class TimmPyramid(BaseModule):
    """The feature maps of a timm classifier.

    A network with blocks of one stride (ViT and its kind) gets ViTDet's simple feature pyramid. A
    network whose classifier ends in a layer norm (ConvNeXt, Swin) gets a layer norm for each map,
    as in its detection ports. Both are new and always trained. Images whose sides the network does
    not accept are padded with zeros on the right and at the bottom, and the maps cropped.

    Args:
        architecture: timm's name, or one of :mod:`backbones.zoo.networks`.
        out_indices: Maps to return; 0 to 3 are strides 4 to 32.
        read: Those of them that heads read; None for all. The others are returned without the parts
            that this class adds.
        frozen_stages: -1 trains everything; 0 freezes the stem; i also freezes stages 1 to i. In a
            network with blocks of one stride, the stem is everything before the blocks, and the
            stages are quarters of the blocks.
        norm_eval: Keep batch norms on their running statistics during training.
        norm_frozen: Also freeze gamma and beta of every batch norm.
        norm_sync: Synchronise batch norms over processes; no effect in a single process.
        output_stride: 32, 16 or 8; below 32, the last stages are dilated instead of strided. Where
            timm cannot dilate a network, its maps are resized to that stride, bilinearly.
        weights: A file, ``timm:<name>.<tag>``, an address, or None or ``"none"`` for random
            weights; loaded by ``init_weights``, which MMEngine's runner calls before training.

    Attributes:
        channels: Numbers of channels of the returned maps, for the neck.

    Raises:
        UserError: Unknown architecture, no maps at these strides, or images of one size only.
    """

    def __init__(
        self,
        architecture: str,
        *,
        out_indices: tuple[int, ...] = (0, 1, 2, 3),
        read: tuple[int, ...] | None = None,
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
        if output_stride not in (8, 16, 32):
            raise UserError(f"output_stride is {output_stride}; it must be 8, 16 or 32.")
        self.architecture = architecture
        self.weights = weights
        self.norm_eval = norm_eval
        self.shape = feature_shape(architecture)
        self.channels = [self.shape.channels[i] for i in out_indices]
        self.strides = [min(STRIDES[i], output_stride) for i in out_indices]
        way = way_to_stride(architecture, output_stride) if output_stride < 32 else ""
        if self.shape.plain:
            self.network = build_plain(architecture, self.shape.levels[0], self.shape.options)
        else:
            options = self.shape.options | (
                {"output_stride": output_stride} if way == "dilated" else {}
            )
            levels = tuple(self.shape.levels[i] for i in out_indices)
            self.network = build_hierarchy(architecture, out_indices=levels, **options)
            drop_unstrided_shortcut_pools(self.network)
        self.parts = nn.ModuleList(
            self._part(i, stride, way) if read is None or i in read else nn.Identity()
            for i, stride in zip(out_indices, self.strides, strict=True)
        )
        if norm_sync and is_distributed():
            # timm's conversion supports norms with an activation; torch's conversion, and
            # MMEngine's back to plain norms on a single device, would drop the activation.
            self.network = convert_sync_batchnorm(self.network)
        self.frozen_modules = self._freeze(frozen_stages)
        if norm_frozen:
            for norm in self._norms():
                for parameter in norm.parameters():
                    parameter.requires_grad = False

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, (B, channels[i], H / stride, W / stride) each, of (B, 3, H, W) images."""
        height, width = images.shape[-2:]
        if (multiple := self.shape.multiple) > 1:
            images = F.pad(images, (0, -width % multiple, 0, -height % multiple))
        maps = list(self.network(images))
        if self.shape.channels_last:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        if self.shape.plain:
            maps *= len(self.parts)
        maps = [part(each) for part, each in zip(self.parts, maps, strict=True)]
        sides = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in self.strides]
        return tuple(each[..., :h, :w] for each, (h, w) in zip(maps, sides, strict=True))

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

    def _part(self, index: int, stride: int, way: str) -> nn.Module:
        """What makes a map of the network's own."""
        if self.shape.plain:
            return pyramid_level(self.shape.plain, stride)
        parts: list[nn.Module] = []
        if self.shape.normed:
            parts.append(LayerNorm2d(self.shape.channels[index]))
        if stride < STRIDES[index] and way == "resized":
            parts.append(nn.Upsample(scale_factor=STRIDES[index] // stride, mode="bilinear"))
        return nn.Sequential(*parts)

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]

    def _freeze(self, frozen_stages: int) -> list[nn.Module]:
        """Freeze parameters up to a stage; returns the modules that must stay in eval mode."""
        for name, parameter in self.network.named_parameters():
            if self.shape.stage_of[name] <= frozen_stages:
                parameter.requires_grad = False
        return [
            module
            for module in self.network.modules()
            if (own := list(module.parameters())) and not any(p.requires_grad for p in own)
        ]


def require_maps(architecture: str) -> None:
    """Check that a network gives a pyramid of maps of images of any size; nothing is computed.

    Raises:
        UserError: As for :class:`TimmPyramid`.
    """
    feature_shape(architecture)
