"""The nearest network that works, for networks that give no pyramid of maps."""

from __future__ import annotations

import timm

_OF_FAMILY = {
    "beit": "deit3_base_patch16_224",
    "cait": "deit3_small_patch16_224",
    "coat": "pvt_v2_b1",
    "convit": "deit3_small_patch16_224",
    "crossvit": "deit3_small_patch16_224",
    "deit": "vit_small_patch16_224",
    "efficientformer": "fastvit_t8",
    "efficientformer_v2": "fastvit_t8",
    "efficientvit_msra": "efficientvit_b0",
    "eva": "vit_small_patch16_224",
    "gcvit": "swin_tiny_patch4_window7_224",
    "hiera": "sam2_hiera_tiny",
    "levit": "efficientvit_b0",
    "maxxvit": "maxvit_tiny_tf_224",
    "mlp_mixer": "vit_small_patch16_224",
    "mvitv2": "sam2_hiera_tiny",
    "nest": "swin_tiny_patch4_window7_224",
    "pit": "pvt_v2_b1",
    "shvit": "efficientvit_b0",
    "tnt": "deit3_small_patch16_224",
    "vision_transformer": "vit_small_patch16_224",
    "vision_transformer_hybrid": "vit_base_r50_s16_224",
    "vision_transformer_relpos": "vit_small_patch16_224",
    "visformer": "pvt_v2_b1",
    "volo": "deit3_small_patch16_224",
}
"""By timm's module of the network."""
_OTHERWISE = "convnext_tiny"

NEAREST = frozenset({*_OF_FAMILY.values(), _OTHERWISE})
"""The networks that messages name."""


def nearest(architecture: str) -> str:
    """The network of :data:`NEAREST` that is built most like this one, of timm's."""
    family = timm.model_entrypoint(architecture).__module__.rpartition(".")[-1]
    return _OF_FAMILY.get(family, _OTHERWISE)
