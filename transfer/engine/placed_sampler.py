"""MMDetection's random sampler of boxes, with draws that follow from the image's place."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmdet.registry import TASK_UTILS

from backbones.runtime import randomness


@TASK_UTILS.register_module()
class PlacedRandomSampler(RandomSampler):
    """Draws for each image from (seed, iteration, place in the whole batch).

    So that what is sampled does not depend on how many processes share the batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iteration = randomness.Now().iteration
        self.images = 0

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """The boxes to train on in the next image of this process."""
        now = randomness.now()
        if now.iteration != self.iteration:
            self.iteration, self.images = now.iteration, 0
        # MMDetection draws on the CPU; the RPN's sampler and the RoI head's differ in their number.
        torch.default_generator.manual_seed(now.seed_of(self.images, self.num))
        self.images += 1
        return super().sample(*args, **kwargs)
