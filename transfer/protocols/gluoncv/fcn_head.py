"""The authors' FCN head: a 3x3 to a quarter of the channels, BN, ReLU, dropout, a 1x1."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from mmseg.models.decode_heads import FCNHead
from torch import nn


@MODELS.register_module()
class SlimFCNHead(FCNHead):
    """MMSegmentation's FCN head with one convolution and dropout of single values.

    MMSegmentation drops whole channels (``Dropout2d``), which its options cannot change. Source:
    GluonCV, ``model_zoo/fcn.py``.

    Args:
        in_channels: Channels C of the map; the head itself has C / 4.
        dropout_ratio: Share of values dropped, 0 to 1.
        options: Options of MMSegmentation's ``BaseDecodeHead``.
    """

    def __init__(self, in_channels: int, dropout_ratio: float = 0.1, **options: Any) -> None:
        super().__init__(
            in_channels=in_channels,
            channels=in_channels // 4,
            num_convs=1,
            concat_input=False,
            dropout_ratio=dropout_ratio,
            **options,
        )
        self.dropout = nn.Dropout(dropout_ratio)
