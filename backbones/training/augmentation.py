"""The paper's augmentation, in the paper's order (section 2.1).

Random crop of 8 to 100 % of the area and aspect 3/4 to 4/3, resized; flip; brightness, saturation
and hue scaled by U[0.6, 1.4]; PCA noise; normalisation. Crop, resize and flip process single images
of 8-bit pixels. The other steps are linear in the colours, so they are one 3 × 4 matrix per image,
applied to a batch at once.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

MIN_AREA = 0.08
JITTER = 0.4
PCA_STD = 0.1
MEAN = (123.68, 116.779, 103.939)
STD = (58.393, 57.12, 57.375)

# RGB's principal components over ImageNet (Krizhevsky et al. 2012, section 4.1).
_EIGENVALUES = np.array([55.46, 4.794, 1.148])
_EIGENVECTORS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_LUMA = np.array([0.299, 0.587, 0.114])
_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def random_crop(
    image: np.ndarray,
    size: int,
    generator: np.random.Generator,
    *,
    min_area: float = MIN_AREA,
    bilinear: bool = False,
) -> np.ndarray:
    """A random crop, resized and randomly flipped.

    Args:
        image: (H, W, 3), uint8.
        size: Side of the result in pixels.
        generator: Source of the random draws.
        min_area: Smallest share of the image's area, 0 to 1.
        bilinear: As for :func:`resize`.

    Returns:
        (size, size, 3), uint8.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * generator.uniform(min_area, 1.0)
        ratio = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = generator.integers(0, width - w + 1)
            top = generator.integers(0, height - h + 1)
            break
    else:  # a very long image: its middle, as close to the range as possible
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        left, top = (width - w) // 2, (height - h) // 2
    crop = resize(image[top : top + h, left : left + w], size, size, bilinear)
    return crop[:, ::-1] if generator.random() < 0.5 else crop


def centre_crop(image: np.ndarray, size: int, bilinear: bool = False) -> np.ndarray:
    """Resize the shorter side to size · 256 / 224 and crop the middle: (size, size, 3), uint8."""
    height, width = image.shape[:2]
    scale = round(size * 256 / 224) / min(height, width)
    longer = max(size, round(width * scale)), max(size, round(height * scale))
    image = resize(image, *longer, bilinear)
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def resize(image: np.ndarray, width: int, height: int, bilinear: bool = False) -> np.ndarray:
    """Resample: by area averages to shrink, bilinearly to enlarge.

    Args:
        image: (H, W, 3), uint8.
        width: Of the result, in pixels.
        height: Of the result, in pixels.
        bilinear: As in the authors' code: also shrink bilinearly, which aliases.

    Returns:
        (height, width, 3), uint8.
    """
    shrinks = not bilinear and width * height < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def colour_matrix(generator: np.random.Generator, contrast: bool = False) -> np.ndarray:
    """Draw steps 4 and 5 for one image, as a matrix.

    Hue is scaled by rotating it in YIQ by (s − 1) π for a scale s, so that the step stays linear.

    Args:
        generator: Source of the random draws.
        contrast: As in the authors' code: contrast instead of hue.

    Returns:
        (3, 4): colours c in [0, 255] become M[:, :3] c + M[:, 3].
    """
    brightness, saturation, third = generator.uniform(1 - JITTER, 1 + JITTER, 3)
    matrix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    offset = np.zeros(3)
    if contrast:
        # Around mid-grey: the matrix is drawn before the image's mean is known.
        offset += (1 - third) * 127.5
        matrix = third * matrix
    else:
        angle = (third - 1) * np.pi
        turn = np.array(
            [
                [1, 0, 0],
                [0, np.cos(angle), -np.sin(angle)],
                [0, np.sin(angle), np.cos(angle)],
            ]
        )
        matrix = _YIQ_TO_RGB @ turn @ _RGB_TO_YIQ @ matrix
    noise = _EIGENVECTORS @ (_EIGENVALUES * generator.normal(0, PCA_STD, 3))
    return np.hstack([brightness * matrix, (brightness * offset + noise)[:, None]]).astype(
        np.float32
    )


def colour_and_normalise(images: Tensor, matrices: Tensor | None) -> Tensor:
    """Apply steps 4 to 6 to a batch.

    Args:
        images: (B, H, W, 3), uint8.
        matrices: (B, 3, 4) of :func:`colour_matrix`, or None to normalise only.

    Returns:
        (B, 3, H, W), channels-last in memory; float32, or 16 bits for colour draws under autocast.
    """
    mean, std = (torch.tensor(v, device=images.device) for v in (MEAN, STD))
    pixels = images.flatten(1, 2).float()
    if matrices is None:
        result = (pixels - mean) / std
    else:
        weights = (matrices[:, :, :3] / std[:, None]).transpose(1, 2)
        offset = (matrices[:, :, 3] - mean) / std
        result = torch.baddbmm(offset[:, None], pixels, weights)
    return result.reshape(images.shape).permute(0, 3, 1, 2)
