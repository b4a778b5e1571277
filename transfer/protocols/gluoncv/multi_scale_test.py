"""The authors' test of a segmenter: many scales, flips, and sliding crops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.registry import MODELS
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor
from torch.nn import functional

_LARGEST_EXPONENT = 80.0
"""exp of 88.8 is infinite in float32; resizing turns infinity times 0 into NaN, which argmax takes
as the largest. Up to 88.7 there is room for sums over crops and scales. Classes above it tie."""


@MODELS.register_module()
class MultiScaleSegmentor(EncoderDecoder):
    r"""MMSegmentation's segmenter, tested like GluonCV's ``MultiEvalModel``.

    The score of class k at a pixel is :math:`\sum_s \exp(z^k_s + \bar z^k_s)`, with the logits of
    scale s and those of the mirrored image, mirrored back. Nothing is normalised: a scale whose
    logits are large weighs more. Inside a scale, crops that overlap are averaged after the
    exponential. MMSegmentation's own test-time augmentation averages softmaxes of whole images.
    Source: GluonCV, ``model_zoo/segbase.py``.

    ``test_cfg`` has ``scales``, ``base_size`` (the long side at scale 1, in pixels),
    ``crop_size`` and ``stride`` (of the crops, as a share of their side). The pipeline keeps
    the images' own size.
    """

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Summed scores, (B, classes, H, W), of normalised images, (B, 3, H, W)."""
        size = tuple(inputs.shape[2:])
        scores = inputs.new_zeros(len(inputs), self.num_classes, *size)
        for scale in self.test_cfg["scales"]:
            resized = _resize(inputs, _size_at(size, self.test_cfg["base_size"] * scale))
            scores += _resize(self._sliding_scores(resized), size)
        return scores

    def _sliding_scores(self, images: Tensor) -> Tensor:
        """Mean over the crops that see a pixel, (B, classes, H, W)."""
        height, width = images.shape[2:]
        padded = self._pad(images)
        sums = padded.new_zeros(len(padded), self.num_classes, *padded.shape[2:])
        counts = padded.new_zeros(1, 1, *padded.shape[2:])
        for y in self._starts(padded.shape[2]):
            for x in self._starts(padded.shape[3]):
                window = (..., slice(y, y + self._crop), slice(x, x + self._crop))
                crop = padded[window]
                scores = self._flipped_scores(self._pad(crop))
                sums[window] += scores[..., : crop.shape[2], : crop.shape[3]]
                counts[window] += 1
        return (sums / counts)[..., :height, :width]

    def _flipped_scores(self, crops: Tensor) -> Tensor:
        """The sum of the exponentials of the logits of crops and their mirror images."""
        metas: list[dict[str, Any]] = [{"img_shape": crops.shape[2:]}]
        logits = self.encode_decode(crops, metas)
        mirrored = self.encode_decode(crops.flip(-1), metas).flip(-1)
        return torch.exp((logits.float() + mirrored.float()).clamp(max=_LARGEST_EXPONENT))

    @property
    def _crop(self) -> int:
        return self.test_cfg["crop_size"]

    def _starts(self, length: int) -> Iterator[int]:
        """Where the crops start along an axis; the last one may reach beyond its end."""
        stride = int(self._crop * self.test_cfg["stride"])
        return iter(range(0, max(length - self._crop, 0) + stride, stride))

    def _pad(self, images: Tensor) -> Tensor:
        """Images padded with black at the bottom and right to at least a crop's size."""
        batch, channels, height, width = images.shape
        preprocessor = self.data_preprocessor
        black = (-preprocessor.mean / preprocessor.std).to(images)
        size = max(height, self._crop), max(width, self._crop)
        padded = black.expand(batch, channels, *size).clone()
        padded[..., :height, :width] = images
        return padded


def _size_at(size: tuple[int, ...], long_side: float) -> tuple[int, int]:
    """Height and width after scaling the longer side to ``long_side`` pixels."""
    height, width = size
    long = math.ceil(long_side)
    if height > width:
        return long, int(width * long / height + 0.5)
    return int(height * long / width + 0.5), long


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    # MXNet's BilinearResize2D aligns the centres of the corner pixels.
    return functional.interpolate(maps, size, mode="bilinear", align_corners=True)
