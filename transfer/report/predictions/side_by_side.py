"""What is compared in a picture: an image, its truth, and what was found."""

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
"""Value of pixels that are not judged."""

SHOWN_SCORE = 0.3
"""Detections of a lower score are not shown, unless another limit is asked for."""


@dataclass(frozen=True)
class Box:
    """A box as it is drawn.

    Attributes:
        frame: Where, in the image's pixels.
        label: Of its class, from 0.
        remark: What is said behind the class's name.
        dashed: Whether it is not judged.
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
        scores: (N,), or None for what is there.
        difficult: (N,) bool, whether the box is not judged, or None for none.
        least_score: Boxes of a lower score are not shown.
    """

    frames: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any] | None = None
    difficult: npt.NDArray[Any] | None = None
    least_score: float = SHOWN_SCORE

    def shown(self) -> list[Box]:
        """Those that are drawn, the best score last."""
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
    """One image, what is in it and what was found: boxes of both, or masks of both.

    Attributes:
        path: The image.
        truth: Boxes, or (height, width) labels with 255 for what is not judged.
        found: Likewise.
        name: What the image is called; empty for the name of its file.
    """

    path: Path
    truth: Boxes | Mask
    found: Boxes | Mask
    name: str = ""

    def labels(self) -> Iterator[int]:
        """Every label that is drawn, once a side."""
        for side in (self.truth, self.found):
            if isinstance(side, Boxes):
                yield from sorted({box.label for box in side.shown()})
            else:
                yield from (int(label) for label in np.unique(side) if label != IGNORED)
