"""The Gaussian blur of the authors' segmentation training."""

from __future__ import annotations

import random

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageFilter


@TRANSFORMS.register_module()
class RandomGaussianBlur(BaseTransform):
    """Blurs an image with Pillow's Gaussian of a radius drawn from U[0, 1) pixels.

    Source: GluonCV, ``data/segbase.py``, which follows PSPNet.

    Args:
        prob: Probability of blurring, 0 to 1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Blur ``results["img"]``, (H, W, 3) of uint8, or leave it."""
        if random.random() < self.prob:
            blur = ImageFilter.GaussianBlur(radius=random.random())
            results["img"] = np.array(Image.fromarray(results["img"]).filter(blur))
        return results
