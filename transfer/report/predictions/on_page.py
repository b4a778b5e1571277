"""Test images on the page: predictions of a row and of its baseline beside the truth."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from backbones.common.escape import html
from transfer.report.predictions.picks import FloatArray

BEST, WORST, CHANGED = "best", "worst", "most changed"
_QUALITY = 85  # of a JPEG


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """A drawn test image.

    Attributes:
        kind: Why it was picked: ``best``, ``worst`` or ``most changed``.
        name: Its name.
        scores: The image's own score of each row, 0 to 1, by the row's name.
        drawn: The truth and the predictions, side by side.
    """

    kind: str
    name: str
    scores: dict[str, float]
    drawn: Image.Image


def pick(row: FloatArray, baseline: FloatArray, count: int) -> list[tuple[str, int]]:
    """The images to show, each once: the best and worst of the row, and the most changed.

    Args:
        row: A score for each test image, or NaN.
        baseline: The baseline's, likewise.
        count: Number of images of each kind.

    Returns:
        Kinds and indices.
    """
    known = np.flatnonzero(np.isfinite(row) & np.isfinite(baseline))
    change = np.abs(row - baseline)
    orders = ((CHANGED, -change), (BEST, -row), (WORST, row))
    picked: dict[int, str] = {}
    for kind, by in orders:
        left = [int(index) for index in known[np.argsort(by[known], kind="stable")]]
        picked |= dict.fromkeys([index for index in left if index not in picked][:count], kind)
    places = [BEST, WORST, CHANGED]
    return sorted(
        ((kind, index) for index, kind in picked.items()), key=lambda one: places.index(one[0])
    )


def to_html(images: Sequence[ShownImage], score: str) -> str:
    """Figures with captions; the images are part of the page.

    Args:
        images: The images.
        score: What the scores are.
    """
    return "".join(_figure(image, score) for image in images)


def _figure(image: ShownImage, score: str) -> str:
    out = io.BytesIO()
    image.drawn.save(out, "JPEG", quality=_QUALITY)
    scores = ", ".join(f"{name} {value:.2f}" for name, value in image.scores.items())
    caption = html(f"{image.kind.capitalize()}: {image.name}. {score}: {scores}.")
    source = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
    return (
        f'<figure><img loading="lazy" src="{source}" alt="{caption}" '
        f'width="{image.drawn.width}" height="{image.drawn.height}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
