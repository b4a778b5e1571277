"""The feature maps of timm's networks, for images of any size.

Detectors and segmenters use images of many sizes, but timm builds most transformers for one. This
module finds out, on torch's meta device, with which arguments timm builds a network for any size
and what its maps are. A network has either maps at strides 4, 8, 16 and 32, or blocks of one stride
(ViT and its kind), from whose last map :mod:`backbones.openmmlab.simple_pyramid` makes the four.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import timm
import torch
from timm.models import FeatureInfo

from backbones.common.errors import UserError
from backbones.openmmlab.level_norms import ends_in_layer_norm
from backbones.openmmlab.nearest import nearest
from backbones.openmmlab.plain_network import PlainNetwork
from backbones.openmmlab.simple_pyramid import STRIDE, WIDTH
from backbones.openmmlab.stages import stages
from backbones.zoo.networks import is_timms, require_known, unusable

STRIDES = (4, 8, 16, 32)
"""Strides of the maps with OpenMMLab's indices 0 to 3, at output stride 32."""

_ANY_SIZE = (199, 283)
"""An image size in pixels that no network requires."""
_MULTIPLE = 32
_TAKEN = 5  # maps, by timm's default
_ANOTHER_SIZE = (192, 288)
"""A multiple of 32, but of nothing else that a network may require."""


@dataclass(frozen=True, kw_only=True)
class FeatureShape:
    """The feature maps of a network.

    Attributes:
        channels: Numbers of channels of the maps at strides 4, 8, 16 and 32.
        levels: timm's indices of these maps; of a network of one stride, of its last block.
        stage_of: The stage of each parameter: 0 is the stem, i the stage that makes map i - 1. For
            a network of one stride, 1 to 4 are quarters of its blocks.
        plain: Channels of the only map of a network of one stride; 0 for other networks.
        channels_last: Whether timm returns maps as (B, H, W, C).
        normed: Whether the classifier normalises its last map by layer norm, so that the maps come
            without a norm.
        multiple: Sides of images must be multiples of this number of pixels; 1 for any.
        options: Arguments with which timm builds the network for images of any size.
    """

    channels: tuple[int, ...]
    levels: tuple[int, ...]
    stage_of: dict[str, int]
    plain: int = 0
    channels_last: bool = False
    normed: bool = False
    multiple: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def adds_parts(self) -> bool:
        """Whether the maps are made by parts that the classifier lacks."""
        return bool(self.plain) or self.normed


@cache
def feature_shape(architecture: str) -> FeatureShape:
    """Find the maps and stages of a network, without computing anything.

    Raises:
        UserError: Unknown architecture, no maps from which to make a pyramid, or images of one size
            only.
    """
    with torch.device("meta"):
        network = build_hierarchy(architecture)
        info = network.feature_info
        reductions = info.reduction()
        if set(STRIDES) <= set(reductions):
            return _of_hierarchy(architecture, network)
        if len({each["reduction"] for each in info.info}) == 1 and len(info) >= len(STRIDES):
            return _of_plain(architecture, network)
    raise _strides(architecture, set(reductions))


def build_hierarchy(architecture: str, **options: Any) -> Any:
    """Timm's feature extractor.

    Raises:
        UserError: Unknown architecture, or timm cannot extract features of it.
    """
    require_known(architecture)
    try:
        network: Any = timm.create_model(architecture, features_only=True, **options)
    except Exception as error:
        if not is_timms(architecture):
            raise unusable(architecture, _too_few_maps(architecture) or error) from error
        raise UserError(
            f"timm's '{architecture}' has no feature maps ({error}); the nearest network that "
            f"works is '{nearest(architecture)}'."
        ) from error
    info = getattr(network, "feature_info", None)
    if not isinstance(info, FeatureInfo):
        kind = type(network).__name__
        raise unusable(
            architecture,
            f"is a {kind} without timm's 'feature_info' although timm was asked for features_only; "
            "build it with timm's build_model_with_cfg",
        )
    return network


def _too_few_maps(architecture: str) -> str:
    """A clause if a user's network has fewer maps than timm takes unless told; empty otherwise."""
    try:
        network: Any = timm.create_model(architecture, features_only=True, out_indices=(0,))
        count = len(network.feature_info.info)
    except Exception:
        return ""
    if count >= _TAKEN:
        return ""
    return (
        f"has {count} feature maps, but timm takes {_TAKEN} unless it is told otherwise; pass "
        f"feature_cfg=dict(out_indices={tuple(range(count))}) to timm's build_model_with_cfg"
    )


@cache
def way_to_stride(architecture: str, output_stride: int) -> str:
    """How a network gives all maps strides up to an output stride below 32.

    Returns:
        ``"dilated"`` if timm can dilate its last stages, ``"pyramid"`` if the maps are made from
        the last one of a network of one stride, otherwise ``"resized"``.
    """
    shape = feature_shape(architecture)
    if shape.plain:
        return "pyramid"
    options = {"out_indices": shape.levels, "output_stride": output_stride, **shape.options}
    with torch.device("meta"):
        try:
            network: Any = timm.create_model(architecture, features_only=True, **options)
        except Exception:
            return "resized"
    return "dilated" if max(network.feature_info.reduction()) == output_stride else "resized"


def own_size(network: Any) -> tuple[int, int]:
    """Height and width of the images for which a network is designed, in pixels."""
    size = (network.pretrained_cfg or {}).get("input_size", (3, 224, 224))
    return size[-2], size[-1]


def _of_hierarchy(architecture: str, network: Any) -> FeatureShape:
    reductions = network.feature_info.reduction()
    channels = network.feature_info.channels()
    faults: list[Exception] = []
    places = [max(i for i, each in enumerate(reductions) if each == s) for s in STRIDES]
    for options, size, multiple in _ways(own_size(network)):
        try:
            built = network
            if options:
                built = timm.create_model(architecture, features_only=True, **options)
            maps = built(torch.zeros(2, 3, *size))
        except Exception as error:
            faults.append(error)
            continue
        indices = [i % len(network.feature_info) for i in network.feature_info.out_indices]
        return FeatureShape(
            channels=tuple(channels[i] for i in places),
            levels=tuple(indices[i] for i in places),
            stage_of=stages(
                built,
                [maps[i] for i in places],
                before=[maps[i] for i in range(places[0]) if reductions[i] < STRIDES[0]],
                first=built.feature_info.module_name(indices[places[0]]),
            ),
            channels_last=[each.shape[1] for each in maps] != channels,
            normed=ends_in_layer_norm(architecture, built, channels[-1]),
            multiple=multiple,
            options=options,
        )
    raise _one_size_only(architecture, network, faults)


def _ways(own: tuple[int, int]) -> Iterator[tuple[dict[str, Any], tuple[int, int], int]]:
    """Arguments, image size and required multiple to try, the most convenient first."""
    yield {}, _ANY_SIZE, 1
    yield {}, _ANOTHER_SIZE, _MULTIPLE
    yield {"dynamic_img_size": True}, _ANOTHER_SIZE, _MULTIPLE
    if own[0] == own[1] and own[0] % _MULTIPLE == 0:
        yield {}, (2 * own[0], own[0]), own[0]  # windows of a fixed size, such as MaxViT's


def _of_plain(architecture: str, network: Any) -> FeatureShape:
    info = network.feature_info.info
    blocks, patch = len(info), info[0]["reduction"]
    ends = tuple(max(1, round(blocks * quarter / 4)) - 1 for quarter in (1, 2, 3, 4))
    options: dict[str, Any] = {}
    if patch != STRIDE:
        # The grid of positions stays that of the weights; only the patches are resampled.
        embedding = getattr(getattr(network, "model", None), "patch_embed", None)
        grid = getattr(embedding, "grid_size", (14, 14))
        options = {"patch_size": STRIDE, "img_size": tuple(STRIDE * count for count in grid)}
    images = torch.zeros(2, 3, *_ANOTHER_SIZE)
    faults: list[Exception] = []
    choices: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {})
    for more in choices:
        try:
            model = timm.create_model(architecture, **options, **more)
            parts = PlainNetwork(model, ends, norm=False)
            first = info[0]["module"].rpartition(".")[0]
            stage_of = stages(parts, parts(images), before=[], first=first)
            (last,) = PlainNetwork(model, ends[-1:], norm=True)(images)
        except Exception as error:
            faults.append(error)
            continue
        if last.shape[2:] == tuple(side // STRIDE for side in _ANOTHER_SIZE):
            return FeatureShape(
                channels=(WIDTH,) * len(STRIDES),
                levels=ends[-1:],
                stage_of=stage_of,
                plain=last.shape[1],
                multiple=_MULTIPLE,
                options=options | more,
            )
    if options:
        raise _strides(architecture, {patch})
    raise _one_size_only(architecture, network, faults)


def _one_size_only(architecture: str, network: Any, faults: list[Exception]) -> UserError:
    if faults and not is_timms(architecture):
        return unusable(architecture, faults[-1])
    height, width = own_size(network)
    return UserError(
        f"'{architecture}' takes only images of {height} x {width} pixels, because timm builds it "
        "with weights for each place of that size, but detectors and segmenters use other sizes; "
        f"the nearest network that works is '{nearest(architecture)}'."
    )


def _strides(architecture: str, found: set[int]) -> UserError:
    missing = next(stride for stride in STRIDES if stride not in found)
    return UserError(
        f"'{architecture}' has feature maps at strides {sorted(found)} but not at {missing}, and a "
        "pyramid needs strides 4, 8, 16 and 32, or blocks of stride 16 as in a ViT; the nearest "
        f"network that works is '{nearest(architecture)}'."
    )
