"""``TimmPyramid`` in place of a toolbox's own backbone, with the same maps and frozen parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

from backbones.common.escape import brief
from backbones.openmmlab.backbone import STRIDES
from transfer.protocols.misfit import Misfit
from transfer.protocols.placement import kind_of

KIND = "TimmPyramid"

_SIDE = 128
"""Side of the image, in pixels, by which the strides of a backbone's maps are measured."""

_BY_HAND = (
    'write model = dict(backbone=dict(_delete_=True, type="TimmPyramid", out_indices=(0, 1, 2, 3), '
    "frozen_stages=-1)) with the maps that neck and heads expect: 0 to 3 are strides 4 to 32, and "
    "output_stride=8 dilates"
)


def pyramid_like(own: ConfigDict, scope: str) -> ConfigDict:
    """The config of a ``TimmPyramid`` with the maps of another backbone.

    The other backbone is built and applied to one image, without its weights.

    Args:
        own: The other backbone's config.
        scope: Its toolbox.

    Raises:
        Misfit: It cannot be built here, or gives maps that no ``TimmPyramid`` has.
    """
    if kind_of(own) == KIND:
        return own
    strides, given = _measured(json.dumps(own.to_dict()), scope)
    norm = own.get("norm_cfg") or {}
    levels, output_stride = _levels(strides, own.get("out_indices", given["out_indices"]))
    return ConfigDict(
        type=KIND,
        out_indices=levels,
        frozen_stages=int(own.get("frozen_stages", given["frozen_stages"])),
        norm_eval=bool(given["norm_eval"]),
        norm_frozen=norm.get("requires_grad") is False,
        norm_sync=norm.get("type") == "SyncBN",
        output_stride=output_stride,
    )


@lru_cache(maxsize=16)
def _measured(text: str, scope: str) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The strides of a backbone's maps, and some attributes of the built backbone."""
    config = {**json.loads(text), "init_cfg": None}
    kind = config.get("type")
    try:
        with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
            network = MODELS.build(config)
            network.eval()  # those of the toolboxes return nothing
            with torch.no_grad():
                maps = network(torch.zeros(1, 3, _SIDE, _SIDE))
    except Exception as error:  # the toolboxes may raise anything
        raise Misfit(
            "model.backbone", f"({kind}) cannot be built here ({brief(error)})", _BY_HAND
        ) from error
    maps = [maps] if isinstance(maps, Tensor) else list(maps)
    if not all(isinstance(each, Tensor) and each.ndim == 4 for each in maps):
        raise Misfit("model.backbone", f"({kind}) gives something other than maps", _BY_HAND)
    names = {"out_indices": None, "frozen_stages": -1, "norm_eval": False}
    attributes = {name: getattr(network, name, default) for name, default in names.items()}
    return tuple(_SIDE // each.shape[-1] for each in maps), attributes


def _levels(strides: Sequence[int], given: Any) -> tuple[tuple[int, ...], int]:
    """Indices of the maps with these strides, and the output stride that gives them.

    Args:
        strides: Strides of the maps.
        given: The other backbone's own indices, which usually count the same stages.
    """
    by_stride = [STRIDES.index(stride) for stride in strides if stride in STRIDES]
    for output_stride in (32, 16, 8):
        for levels in (given, by_stride):
            if not isinstance(levels, list | tuple) or not set(levels) <= {0, 1, 2, 3}:
                continue
            if sorted(set(levels)) == list(levels) and list(strides) == [
                min(STRIDES[level], output_stride) for level in levels
            ]:
                return tuple(levels), output_stride
    raise Misfit(
        "model.backbone",
        f"gives maps at strides {', '.join(map(str, strides))}; a network here gives one map each "
        "at strides 4, 8, 16 and 32, or 4 and 8 if dilated",
        _BY_HAND,
    )
