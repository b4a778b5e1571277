"""MMDetection's random box sampler, with draws that depend on the image's place in the batch."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.samplers import RandomSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from backbones.runtime import randomness

_LARGE = 10_000
"""Number of boxes above which a subset is drawn without ordering all; there are never so many
positive boxes, after which others are drawn."""


@HOOKS.register_module()
class PlacedSampling(Hook):
    """Let a detector's random samplers draw by place, with unchanged settings."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Replace plain samplers by samplers that draw by place."""
        for module in runner.model.modules():
            for name in ("sampler", "bbox_sampler"):
                own = getattr(module, name, None)
                if isinstance(own, list):  # a cascade has one a stage
                    own[:] = map(_placed, own)
                elif own is not None and own is not (placed := _placed(own)):
                    setattr(module, name, placed)


class PlacedRandomSampler(RandomSampler):
    """Draws for each image from (seed, iteration, place in the global batch).

    The samples then do not depend on the number of processes that share the batch.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.iteration = randomness.Now().iteration
        self.images = 0

    @classmethod
    def like(cls, sampler: RandomSampler) -> PlacedRandomSampler:
        """A sampler with the same number and proportion of boxes as another."""
        return cls(
            sampler.num,
            sampler.pos_fraction,
            neg_pos_ub=sampler.neg_pos_ub,
            add_gt_as_proposals=sampler.add_gt_as_proposals,
        )

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """Sample the boxes of the next image of this process."""
        self.begin_image()
        return super().sample(*args, **kwargs)

    def begin_image(self) -> None:
        """Seed the draws for the next image of this process."""
        now = randomness.now()
        if now.iteration != self.iteration:
            self.iteration, self.images = now.iteration, 0
        # MMDetection draws on the CPU; the samplers of RPN and RoI head differ in their number of
        # boxes.
        torch.default_generator.manual_seed(now.seed_of(self.images, self.num))
        self.images += 1

    def random_choice(self, gallery: Any, num: int) -> Any:
        """A random subset of a gallery; for large ones on the CPU in a tenth of the time."""
        if isinstance(gallery, Tensor) and gallery.is_cpu and num < len(gallery) > _LARGE:
            return gallery[first_of_permutation(len(gallery), num)]
        return super().random_choice(gallery, num)


def _placed(sampler: Any) -> Any:
    """A sampler that draws by place instead of a plain one; any other as it is."""
    return PlacedRandomSampler.like(sampler) if type(sampler) is RandomSampler else sampler


def first_of_permutation(count: int, first: int) -> Tensor:
    """``torch.randperm(count)[:first]`` without drawing the rest.

    torch exchanges each place in turn with one drawn from it and the later ones, by 32 random bits.
    Later draws from the generator differ from torch's.

    Args:
        count: Up to 2**32 / 20; beyond, torch uses 64 bits per place.
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
