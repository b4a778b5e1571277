"""The names of ``efficientnet_pytorch`` (B0 to B7, Lite), translated into timm's.

==================  ====================  ================================================
part                timm                  efficientnet_pytorch
==================  ====================  ================================================
stem                conv_stem, bn1        _conv_stem, _bn0
block               blocks.STAGE.INDEX    _blocks.NUMBER, counted through
last convolution    conv_head, bn2        _conv_head, _bn1
classifier          classifier            _fc
==================  ====================  ================================================

Within a block that expands its channels, ``_expand_conv, _bn0, _depthwise_conv, _bn1,
_project_conv, _bn2`` are timm's ``conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3``. A block without
expansion has timm's ``conv_dw, bn1, conv_pw, bn2``. ``_se_reduce`` and ``_se_expand`` are
``se.conv_reduce`` and ``se.conv_expand``.

Sources: ``efficientnet_pytorch/model.py``; timm ``models/_efficientnet_blocks.py``; Tan and Le,
"EfficientNet" (ICML 2019), table 1: the output channels differ from one stage to the next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FIRST = "_conv_stem.weight"
_BLOCK = re.compile(r"_blocks\.([0-9]{1,3})\.(_[a-z0-9_]+)\.(.+)")
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_SQUEEZE_EXCITE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def has_these_names(names: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names of ``efficientnet_pytorch``."""
    return _FIRST in names and "_blocks.0._depthwise_conv.weight" in names


def timm_names(state: Mapping[str, Any]) -> dict[str, str]:
    """Name each part of a state dict as timm does; other names are kept.

    Args:
        state: Tensors or arrays under the names of ``efficientnet_pytorch``.
    """
    places = _places(state)
    return {name: _timm_name(name, places, state) for name in state}


def _places(state: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """Stage and index of each block: a stage begins where the number of output channels changes."""
    places: dict[int, tuple[int, int]] = {}
    stage, index, channels, number = -1, 0, None, 0
    while (projection := state.get(f"_blocks.{number}._project_conv.weight")) is not None:
        index += 1
        if projection.shape[0] != channels:
            stage, index, channels = stage + 1, 0, projection.shape[0]
        places[number] = (stage, index)
        number += 1
    return places


def _timm_name(name: str, places: Mapping[int, tuple[int, int]], state: Mapping[str, Any]) -> str:
    block = _BLOCK.fullmatch(name)
    if block is None:
        part, _, field = name.partition(".")
        return f"{_OUTSIDE[part]}.{field}" if part in _OUTSIDE else name
    number, part, field = int(block[1]), block[2], block[3]
    expands = f"_blocks.{number}._expand_conv.weight" in state
    parts = (_EXPANDING if expands else _PLAIN) | _SQUEEZE_EXCITE
    if number not in places or part not in parts:
        return name
    stage, index = places[number]
    return f"blocks.{stage}.{index}.{parts[part]}.{field}"
