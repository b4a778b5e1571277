"""MMDetection's random sampler of boxes, with draws that follow from the image's place."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from backbones.runtime import randomness


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
        now = randomness.now()
        if now.iteration != self.iteration:
            self.iteration, self.images = now.iteration, 0
        # MMDetection draws on the CPU; the RPN's sampler and the RoI head's differ in their number.
        torch.default_generator.manual_seed(now.seed_of(self.images, self.num))
        self.images += 1
        return super().sample(*args, **kwargs)
