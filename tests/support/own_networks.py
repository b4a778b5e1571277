"""Networks as users register them with timm: a sound one, and others with a fault each."""

from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from backbones.common.timm_cfg import untrained_cfg

FOUR_MAPS = {"out_indices": (0, 1, 2, 3)}
_NAMES = ("own_sound", "own_four_maps", "own_bare", "own_raises", "own_headless", "own_bad_maps")


class Small(nn.Module):
    """Four stages of one convolution each."""

    stride = 2

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, **_: Any) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(in_chans, 8, 3, 2, 1)
        self.feature_info = []
        for stage in range(4):
            self.add_module(f"stage{stage}", nn.Conv2d(8, 8, 3, 2, 1))
            self.feature_info.append(
                {"num_chs": 8, "reduction": 4 * 2**stage, "module": f"stage{stage}"}
            )
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        maps = self.stem(images)
        for stage in range(4):
            maps = self.get_submodule(f"stage{stage}")(maps)
        return self.fc(maps.mean((2, 3)))


class Headless(Small):
    """Its classifier fails."""

    def forward(self, images: Tensor) -> Tensor:
        """Nothing."""
        raise KeyError("logits")


class BadStage(nn.Conv2d):
    """A stage that fails."""

    def forward(self, maps: Tensor) -> Tensor:
        """Nothing."""
        raise KeyError("stage")


class BadMaps(Small):
    """One of its stages fails."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.stage2 = BadStage(8, 8, 3, 2, 1)


default_cfgs = {
    name: cfg
    for network in _NAMES
    for name, cfg in untrained_cfg(network, first_conv="stem", classifier="fc").items()
}


@register_model
def own_sound(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """As docs/networks.md says."""
    return build_model_with_cfg(Small, "own_sound", pretrained, feature_cfg=FOUR_MAPS, **kwargs)


@register_model
def own_four_maps(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Four maps, of which timm is not told."""
    return build_model_with_cfg(Small, "own_four_maps", pretrained, **kwargs)


@register_model
def own_bare(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Plain torch."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())


@register_model
def own_raises(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A mistake."""
    raise ZeroDivisionError("oops")


@register_model
def own_headless(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Sound maps, and a forward pass with a mistake."""
    return build_model_with_cfg(
        Headless, "own_headless", pretrained, feature_cfg=FOUR_MAPS, **kwargs
    )


@register_model
def own_bad_maps(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Maps with a mistake."""
    return build_model_with_cfg(
        BadMaps, "own_bad_maps", pretrained, feature_cfg=FOUR_MAPS, **kwargs
    )
