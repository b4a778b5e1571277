"""The content of a picture: an image, its ground truth, and the predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Frame = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels."""

Mask = npt.NDArray[np.integer[Any]]

IGNORED = 255
"""Value of ignored pixels."""

SHOWN_SCORE = 0.3
"""Default score threshold of shown detections."""


@dataclass(frozen=True)
class Box:
    """A box to draw.

    Attributes:
        frame: Its corners in the image's pixels.
        label: Label of its class, from 0.
        remark: Text after the class's name.
        dashed: Whether the box is ignored.
    """

    frame: Frame
    label: int
    remark: str
    dashed: bool


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The boxes of one image.

    Attributes:
        frames: (N, 4), x1 y1 x2 y2 in the image's pixels.
        labels: (N,), from 0.
        scores: (N,), or None for ground truth.
        difficult: (N,) bool, whether each box is ignored, or None if no box is.
        least_score: Boxes with a lower score are not shown.
    """

    frames: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any] | None = None
    difficult: npt.NDArray[Any] | None = None
    least_score: float = SHOWN_SCORE

    def shown(self) -> list[Box]:
        """The boxes to draw, the best score last."""
        count = len(self.labels)
        scores = np.ones(count) if self.scores is None else self.scores
        difficult = np.zeros(count, bool) if self.difficult is None else self.difficult
        boxes = []
        for index in np.argsort(scores, kind="stable"):
            if self.scores is not None and scores[index] < self.least_score:
                continue
            x1, y1, x2, y2 = (float(edge) for edge in self.frames[index])
            remark = "" if self.scores is None else f" {scores[index]:.2f}"
            if difficult[index]:
                remark += " (difficult)"
            label = int(self.labels[index])
            boxes.append(Box((x1, y1, x2, y2), label, remark, bool(difficult[index])))
        return boxes


@dataclass(frozen=True)
class Comparison:
    """One image with ground truth and predictions, as boxes or as masks.

    Attributes:
        path: The image.
        truth: Boxes, or (height, width) labels, 255 for ignored pixels.
        found: Likewise.
        name: Name of the image; empty for its file name.
        title: Heading of the predictions.
        others: Further predictions with their headings.
    """

    path: Path
    truth: Boxes | Mask
    found: Boxes | Mask
    name: str = ""
    title: str = "prediction"
    others: tuple[tuple[str, Boxes | Mask], ...] = ()

    def sides(self) -> list[tuple[str, Boxes | Mask]]:
        """The truth, then all predictions, with their headings."""
        return [("truth", self.truth), (self.title, self.found), *self.others]

    def labels(self) -> Iterator[int]:
        """Every drawn label, once for each side."""
        for _, side in self.sides():
            if isinstance(side, Boxes):
                yield from sorted({box.label for box in side.shown()})
            else:
                yield from (int(label) for label in np.unique(side) if label != IGNORED)
