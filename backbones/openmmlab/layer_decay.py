"""Learning rates that fall from layer to layer towards the stem, and weight decay of weights alone.

Layer-wise decay is from BEiT (Bao et al. 2022, arXiv:2106.08254). The layers are those of timm's
``group_matcher``, so one rule serves every network.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

import timm
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from timm.optim import param_groups_layer_decay
from torch import nn

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid
from backbones.openmmlab.c4_head import RoIStage
from backbones.weights.weights import plain_name

_POSITIONS = ("*pos_embed*", "*rel_pos*", "*position*")
"""Names of position embeddings; some networks do not list theirs."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecay(DefaultOptimWrapperConstructor):
    """Makes an optimizer with layer-wise learning rates in the backbone.

    A layer that is k layers below the classifier's head learns at ``layer_decay ** k`` times the
    learning rate, as in timm's ``param_groups_layer_decay`` for the whole classifier. A network
    without ``group_matcher`` has timm's own substitute for layers: every 12 tensors in their order.
    Everything that the classifier lacks learns at the full learning rate: pyramid, layer norms of
    the maps, neck and heads.

    Norms and biases have no weight decay, nor has any other tensor of one dimension. The same holds
    for positions and what else the network lists in ``no_weight_decay``.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with its optimizer and learning rate ``lr``.
        paramwise_cfg: ``layer_decay`` alone, above 0 and up to 1; 1 is the same learning rate for
            all layers.

    Raises:
        UserError: A setting is missing, unknown or out of range; or, when it is called, the model
            has no ``TimmPyramid``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if [*self.paramwise_cfg] != ["layer_decay"]:
            raise UserError(
                "The constructor LayerDecay takes one setting: write optim_wrapper = "
                f"dict(paramwise_cfg=dict(layer_decay=0.9), …); it has {self.paramwise_cfg!r}."
            )
        self.layer_decay = self.paramwise_cfg["layer_decay"]
        if not isinstance(self.layer_decay, int | float) or not 0 < self.layer_decay <= 1:
            raise UserError(f"layer_decay is {self.layer_decay!r}; it must be above 0 and up to 1.")
        if self.base_lr is None:
            raise UserError("The constructor LayerDecay needs the optimizer's learning rate, 'lr'.")

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: int | float | None = None,
    ) -> None:
        """Add a group for each learning rate and weight decay, the highest learning rate first.

        MMEngine's logs and this project's records state the learning rate of the first group.
        """
        rules = _rules(module, self.layer_decay)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups[rules.get(name, (1.0, parameter.ndim > 1))].append(parameter)
        for (scale, decays), members in sorted(groups.items(), key=lambda group: group[0])[::-1]:
            group = {"params": members, "lr": scale * self.base_lr}
            if self.base_wd is not None:
                group["weight_decay"] = self.base_wd if decays else 0.0
            params.append(group)


def _rules(model: nn.Module, layer_decay: float) -> dict[str, tuple[float, bool]]:
    """For each parameter of a model's classifier: its share of the learning rate, and decay.

    Raises:
        UserError: The model has no ``TimmPyramid``, or its network has other parameters than the
            classifier.
    """
    rules = {}
    for path, part in model.named_modules():
        if isinstance(part, TimmPyramid | RoIStage):
            inner = "network." if isinstance(part, TimmPyramid) else ""
            of_layer = _of_classifier(part.architecture, layer_decay)
            for name, _ in part.get_submodule(inner.rstrip(".")).named_parameters():
                if (rule := of_layer.get(plain_name(name))) is None:
                    raise UserError(
                        f"The constructor LayerDecay does not know the layer of '{name}' in "
                        f"{part.architecture}; leave out 'constructor' and 'paramwise_cfg'."
                    )
                rules[f"{path}.{inner}{name}"] = rule
    if not rules:
        raise UserError(
            "The constructor LayerDecay knows the layers of the backbone TimmPyramid only; leave "
            "out 'constructor' in 'optim_wrapper' for another one."
        )
    return rules


@cache
def _of_classifier(architecture: str, layer_decay: float) -> dict[str, tuple[float, bool]]:
    """Share of the learning rate, and whether weight decay applies, by a parameter's plain name."""
    with torch.device("meta"):
        classifier: Any = timm.create_model(architecture)
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    listed = classifier.no_weight_decay() if hasattr(classifier, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        classifier,
        weight_decay=1.0,
        no_weight_decay_list=(*listed, *_POSITIONS),
        layer_decay=layer_decay,
    )
    return {
        plain_name(names[id(parameter)]): (group["lr_scale"], bool(group["weight_decay"]))
        for group in groups
        for parameter in group["params"]
    }
