"""MMDetection's random sampler of boxes, with draws that follow from the image's place."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from backbones.runtime import randomness

_LARGE = 10_000
"""Boxes from which not all are put in order to choose some; there are never so many positive ones,
after which others are drawn."""


@HOOKS.register_module()
class PlacedSampling(Hook):
    """Let a detector's random samplers draw by place; their settings stay the config's."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put samplers that draw by place where the plain ones stand."""
        for module in runner.model.modules():
            for name in ("sampler", "bbox_sampler"):
                if type(sampler := getattr(module, name, None)) is RandomSampler:
                    setattr(module, name, PlacedRandomSampler.like(sampler))


class PlacedRandomSampler(RandomSampler):
    """Draws for each image from (seed, iteration, place in the whole batch).

    So that what is sampled does not depend on how many processes share the batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iteration = randomness.Now().iteration
        self.images = 0

    @classmethod
    def like(cls, sampler: RandomSampler) -> PlacedRandomSampler:
        """One that takes as many boxes, in the same proportion, as another."""
        return cls(
            sampler.num,
            sampler.pos_fraction,
            neg_pos_ub=sampler.neg_pos_ub,
            add_gt_as_proposals=sampler.add_gt_as_proposals,
        )

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """The boxes to train on in the next image of this process."""
        self.begin_image()
        return super().sample(*args, **kwargs)

    def begin_image(self) -> None:
        """From here on, draw for the next image of this process."""
        now = randomness.now()
        if now.iteration != self.iteration:
            self.iteration, self.images = now.iteration, 0
        # MMDetection draws on the CPU; the RPN's sampler and the RoI head's differ in their number.
        torch.default_generator.manual_seed(now.seed_of(self.images, self.num))
        self.images += 1

    def random_choice(self, gallery: Any, num: int) -> Any:
        """Some of a gallery: of a large one on the host the same in a tenth of the time."""
        if isinstance(gallery, Tensor) and gallery.is_cpu and num < len(gallery) > _LARGE:
            return gallery[first_of_permutation(len(gallery), num)]
        return super().random_choice(gallery, num)


def first_of_permutation(count: int, first: int) -> Tensor:
    """``torch.randperm(count)[:first]`` without drawing the rest.

    torch exchanges each place in turn with one drawn among those from it on, by 32 random bits.
    What else is drawn from the generator afterwards differs.

    Args:
        count: Up to 2**32 / 20; beyond, torch takes 64 bits a place.
        first: At most ``count - 1``.
    """
    pairs = torch.empty(first // 2 + 1, dtype=torch.int64).random_(-(2**63), None).tolist()
    draws = [part for pair in pairs for part in ((pair >> 32) & 0xFFFFFFFF, pair & 0xFFFFFFFF)]
    moved: dict[int, int] = {}  # values at places that have been exchanged
    chosen = []
    for place in range(first):
        other = place + draws[place] % (count - place)
        chosen.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return torch.tensor(chosen)
