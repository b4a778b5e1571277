"""Anchors of a detector: positions, decoding, and sampling for training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor

_LARGEST_RATIO = abs(math.log(16 / 1000))
"""The toolbox's limit of a box's logarithmic growth, which its config cannot change."""


class Anchors:
    """The anchors of maps with given sizes, on one device.

    Attributes:
        boxes: (N, 4), x1 y1 x2 y2 in pixels, level by level.
        counts: Number of anchors in each level.
        levels: (1,) number of each level.
    """

    def __init__(
        self, levels: Sequence[Tensor], means: Sequence[float], stds: Sequence[float]
    ) -> None:
        self.boxes = torch.cat(list(levels))
        self.counts = [len(level) for level in levels]
        self.levels = [self.boxes.new_full((1,), number) for number in range(len(levels))]
        self._means, self._stds = self.boxes.new_tensor(means), self.boxes.new_tensor(stds)

    def decode(self, anchors: Tensor, deltas: Tensor, limits: Tensor) -> Tensor:
        """Boxes (B, K, 4) from anchors and deltas of that shape, clipped to (B, 2) sizes."""
        deltas = deltas * self._stds + self._means
        growth = deltas[..., 2:].clamp(min=-_LARGEST_RATIO, max=_LARGEST_RATIO)
        sides = anchors[..., 2:] - anchors[..., :2]
        centres = (anchors[..., :2] + anchors[..., 2:]) * 0.5 + sides * deltas[..., :2]
        halves = sides * growth.exp() * 0.5
        boxes = torch.cat([centres - halves, centres + halves], dim=2)
        across = limits.flip(1).repeat(1, 2)[:, None]
        return torch.minimum(boxes.clamp(min=0), across)


@runtime_checkable
class SamplesByImage(Protocol):
    """A sampler whose ``sample`` is ``RandomSampler``'s and follows a call of ``begin_image``.

    Code that draws from it instead of calling ``sample`` must call that first.
    """

    def begin_image(self) -> None:
        """Prepare the draws for another image."""


class Sampled(NamedTuple):
    """The sampled anchors of an image.

    Attributes:
        positive: (P,), indices among all anchors, ascending.
        negative: (M,), likewise.
        anchors: (P, 4), the positive ones, x1 y1 x2 y2 in pixels.
        boxes: (P, 4), their target objects.
    """

    positive: Tensor
    negative: Tensor
    anchors: Tensor
    boxes: Tensor


class Inside:
    """The anchors of an image that training may use.

    Args:
        anchors: All of them.
        inside: (N,), whether training may use each.

    Attributes:
        places: (M,), indices among all anchors.
        boxes: (M, 4), x1 y1 x2 y2 in pixels.
    """

    def __init__(self, anchors: Anchors, inside: Tensor) -> None:
        self.places = inside.nonzero()[:, 0]
        self.boxes = anchors.boxes[self.places]
        counts = [int(part.sum()) for part in inside.split(anchors.counts)]
        self._numbers = torch.arange(len(self.boxes))
        self._sides = self.boxes.T.contiguous()
        areas = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(dim=1)
        ends = list(itertools.accumulate(counts))
        self._levels: list[tuple[slice, float, float]] = []
        for count, end in zip(counts, ends, strict=True):
            if count:
                least, most = areas[end - count : end].aminmax()
                self._levels.append((slice(end - count, end), float(least), float(most)))

    def sampled(
        self,
        assigner: MaxIoUAssigner,
        sampler: RandomSampler,
        objects: InstanceData,
        unjudged: InstanceData | None,
    ) -> Sampled:
        """The anchors that a sampler draws after assignment, with the same random draws.

        Nearly all anchors are negative; they are neither examined nor listed.

        Args:
            assigner: Labels anchors as positive, negative or neither.
            sampler: Draws positive and negative anchors at random.
            objects: Objects of the image, with ``bboxes`` (G, 4) and ``labels``.
            unjudged: Ignored objects, or None.
        """
        near, owners = self._near_owners(assigner, objects, unjudged)
        if isinstance(sampler, SamplesByImage):
            sampler.begin_image()
        found = (owners > 0).nonzero()[:, 0]
        wanted = int(sampler.num * sampler.pos_fraction)
        if len(found) > wanted:
            found = sampler.random_choice(found, wanted).sort().values
        taken = near[owners != 0]
        negatives = self._numbers[: len(self.boxes) - len(taken)]
        wanted = sampler.num - len(found)
        if sampler.neg_pos_ub >= 0:
            wanted = min(wanted, int(sampler.neg_pos_ub * max(1, len(found))))
        if len(negatives) > wanted:
            negatives = sampler.random_choice(negatives, wanted).sort().values
        before = taken - self._numbers[: len(taken)]  # negative anchors before each taken one
        negative = negatives + torch.searchsorted(before, negatives, right=True)
        positive = near[found]
        return Sampled(
            self.places[positive],
            self.places[negative],
            self.boxes[positive],
            objects.bboxes[owners[found] - 1],
        )

    def _near_owners(
        self, assigner: MaxIoUAssigner, objects: InstanceData, unjudged: InstanceData | None
    ) -> tuple[Tensor, Tensor]:
        """Ascending indices with the assigner's labels: -1, 0, or an object's number from 1.

        Only anchors that may be positive are assigned. The assigner would label the rest negative,
        since they overlap no object by its lower thresholds.
        """
        low = assigner.neg_iou_thr
        if not isinstance(low, float) or assigner.ignore_iof_thr > 0:
            near = self._numbers
        else:
            if assigner.match_low_quality:
                low = min(low, assigner.min_pos_iou)
            near = self._near(objects.bboxes, low)
        asked = assigner.assign(InstanceData(priors=self.boxes[near]), objects, unjudged)
        return near, asked.gt_inds

    def _near(self, objects: Tensor, low: float) -> Tensor:
        """Ascending indices of at least all boxes that overlap an object by a threshold."""
        found = [torch.zeros(0, dtype=torch.long)]
        low = 0.99 * low  # rounding must not lose one
        for x1, y1, x2, y2 in objects.tolist():
            area, least_x, least_y = (x2 - x1) * (y2 - y1), low * (x2 - x1), low * (y2 - y1)
            for of_level, smallest, largest in self._levels:
                # The ratio of the smaller to the larger area bounds the overlap of two boxes, and
                # so does
                # the shared part of either side of the object.
                if area * low <= largest and smallest * low <= area:
                    left, top, right, bottom = self._sides[:, of_level]
                    meets = (left <= x2 - least_x) & (right >= x1 + least_x)
                    meets &= (top <= y2 - least_y) & (bottom >= y1 + least_y)
                    found.append(meets.nonzero()[:, 0] + of_level.start)
        return torch.cat(found).unique()
