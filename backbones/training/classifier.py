"""A timm classifier with the recipe's loss, as an MMEngine model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import METRICS, MODELS
from torch import Tensor, nn

from backbones.runtime.evaluation import SharedMetric
from backbones.training.augmentation import colour_and_normalise
from backbones.tricks.trick import Trick
from backbones.tricks.zero_gamma import set_last_gamma
from backbones.zoo import networks  # noqa: F401  (registers networks with timm)


@MODELS.register_module()
class Classifier(BaseModel):
    """A network with its loss; tricks change parts of it (:mod:`backbones.tricks.trick`).

    Args:
        architecture: timm's name.
        classes: Number of classes, K.
        tricks: Tricks that change initialisation, targets, batches and loss, in this order.
        authors_code: Initialise as the authors' code does.
    """

    def __init__(
        self,
        architecture: str,
        classes: int,
        tricks: Sequence[Trick] = (),
        *,
        authors_code: bool = False,
    ) -> None:
        super().__init__()
        self.network = timm.create_model(
            architecture, num_classes=classes, drop_rate=drop_rate(architecture)
        )
        initialise(self.network, authors_code)
        self.classes, self.tricks = classes, tuple(tricks)
        for trick in self.tricks:
            trick.initialise(self.network)

    def forward(
        self, images: Tensor, labels: Tensor, matrices: Tensor, mode: str = "tensor"
    ) -> Any:
        """``mode="loss"`` returns the loss of a batch, ``"predict"`` its five best classes.

        Args:
            images: (B, H, W, 3), uint8.
            labels: (B,).
            matrices: (B, 3, 4), colour draws.
            mode: What to return.
        """
        if mode == "predict":
            logits = self.network(colour_and_normalise(images, None)).float()
            best = logits.topk(min(5, self.classes), dim=1).indices
            return list(zip(best.cpu(), labels.cpu(), strict=True))
        inputs = colour_and_normalise(images, matrices)
        targets = F.one_hot(labels, self.classes).float()
        for trick in self.tricks:
            targets = trick.targets(targets)
        for trick in self.tricks:
            inputs, targets = trick.batch(inputs, targets)
        logits = self.network(inputs).float()
        loss = F.cross_entropy(logits, targets)
        for trick in self.tricks:
            loss = trick.loss(loss, logits, inputs, targets)
        return {"loss": loss}

    def init_weights(self) -> None:
        """Do nothing.

        MMEngine calls this before training. Its own version would let timm's networks initialise
        themselves again, with He et al.'s distribution and zero gamma in every row.
        """

    def to(self, *args: Any, **kwargs: Any) -> Classifier:
        """Move the network and its teacher."""
        for trick in self.tricks:
            trick.to(*args, **kwargs)
        return super().to(*args, **kwargs)


def drop_rate(architecture: str) -> float:
    """Dropout before the last layer, for the networks that the paper trained with it.

    The paper does not mention it. GluonCV's Inception-V3 has it, like the original network; in timm
    it is an option.
    """
    return 0.5 if architecture == "inception_v3" else 0.0


def initialise(network: nn.Module, authors_code: bool = False) -> None:
    """The paper's initialisation (section 2.1), in place.

    Xavier uniform for convolutions and the FC layer, biases 0, γ 1 and β 0. The authors' code uses
    MXNet's ``MSRAPrelu`` with its defaults instead: He et al.'s normal distribution for PReLUs of
    slope ¼, over the mean of fan-in and fan-out.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if authors_code:
                gain = nn.init.calculate_gain("leaky_relu", 0.25)
                nn.init.xavier_normal_(module.weight, gain)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    set_last_gamma(network, 1.0)  # timm's networks start with zero gamma


@METRICS.register_module()
class TopK(SharedMetric):
    """Top-1 and top-5 accuracy in percent."""

    default_prefix = None

    def process(self, data_batch: Any, data_samples: list[tuple[Tensor, Tensor]]) -> None:
        """Record whether each label is the best, or among the five best, classes."""
        for best, label in data_samples:
            self.results.append((best == label).tolist())

    def compute_metrics(self, results: list[list[bool]]) -> dict[str, float]:
        """Percentages of the images."""
        hits = torch.tensor(results, dtype=torch.float)
        return {
            "top1": 100 * float(hits[:, 0].mean()),
            "top5": 100 * float(hits.any(dim=1).float().mean()),
        }
