"""Anchors as in the first Faster R-CNN: whole pixels, counted inclusively."""

from __future__ import annotations

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.registry import TASK_UTILS
from torch import Tensor


@TASK_UTILS.register_module()
class RoundedAnchorGenerator(AnchorGenerator):
    """Anchors around (base - 1) / 2, with sides rounded before scaling.

    At base 16 and scales 8, 16, 32 these are the nine anchors of py-faster-rcnn, such as
    (-84, -40, 99, 55). MMDetection's own have the exact ratio and are centred at base / 2. The
    authors use these: GluonCV, ``model_zoo/rpn/anchor.py``.
    """

    def gen_single_level_base_anchors(
        self,
        base_size: float,
        scales: Tensor,
        ratios: Tensor,
        center: tuple[float, float] | None = None,
    ) -> Tensor:
        """One place's anchors, (len(ratios) * len(scales), 4), x1 y1 x2 y2 in pixels.

        Args:
            base_size: Side of the square that the ratios apply to, in pixels.
            scales: Factors of the base size.
            ratios: Ratios of height to width.
            center: Centre of the anchors; None for (base - 1) / 2 along both axes.
        """
        x, y = center or ((base_size - 1) / 2, (base_size - 1) / 2)
        widths = torch.sqrt(base_size**2 / ratios).round()
        heights = (widths * ratios).round()  # halves to even, as in NumPy
        across = (widths[:, None] * scales - 1).flatten() / 2
        down = (heights[:, None] * scales - 1).flatten() / 2
        return torch.stack([x - across, y - down, x + across, y + down], dim=1)
