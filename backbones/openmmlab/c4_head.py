"""A classifier's last stage as the head that Faster R-CNN applies to each RoI (the C4 detector).

Stages 1 to 3 compute the detector's map (:mod:`backbones.openmmlab.backbone`). Stage 4 of the same
weights processes each RoI that is pooled from the map, as in the first Faster R-CNN with residual
networks (He et al., Deep Residual Learning, appendix A) and in the authors' code.
"""

from __future__ import annotations

import timm
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backbones.common.errors import UserError
from backbones.weights import weights as weights_module
from backbones.zoo.networks import require_known

_STAGE = "layer4"


@MODELS.register_module()
class RoIStage(BaseModule):
    """Stage 4 of timm's ResNet, for OpenMMLab's ``shared_head``.

    Args:
        architecture: timm's name of the classifier, or ``resnet50v1``.
        norm_eval: Keep batch norms on their running statistics during training.
        norm_frozen: Also freeze gamma and beta of every batch norm.
        weights: The same weights as :class:`backbones.openmmlab.backbone.TimmPyramid` has.

    Raises:
        UserError: Unknown architecture, or one without such a stage.
    """

    def __init__(
        self,
        architecture: str,
        norm_eval: bool = True,
        norm_frozen: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.weights = weights
        self.norm_eval = norm_eval
        # The classifier's attribute name, so that the names of its weights match.
        self.layer4 = _last_stage(architecture)
        if norm_frozen:
            for norm in self._norms():
                norm.requires_grad_(False)

    def forward(self, pooled: Tensor) -> Tensor:
        """(K, C, S / 2, S / 2) of K RoIs that were pooled to S x S bins."""
        return self.layer4(pooled)

    def init_weights(self) -> None:
        """Load the classifier's weights; a mismatch is an error, never a warning."""
        weights_module.initialise(self, self.architecture, self.weights)

    def train(self, mode: bool = True) -> RoIStage:
        """Set training mode, except for batch norms with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for norm in self._norms():
                norm.eval()
        return self

    def _norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]


def _last_stage(architecture: str) -> nn.Module:
    require_known(architecture)
    network = timm.create_model(architecture)
    stage = getattr(network, _STAGE, None)
    if not isinstance(stage, nn.Module):
        raise UserError(
            f"'{architecture}' has no stage '{_STAGE}' for the RoI head of a C4 detector; "
            "choose a network of the ResNet family, or the protocol 'openmmlab', whose detector "
            "accepts any network with feature maps at strides 4 to 32."
        )
    return stage
