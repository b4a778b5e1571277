"""What a network can and cannot be used for, without building it.

``python -m backbones.openmmlab.network_limits`` writes ``limits.csv`` for the networks of the zoo,
those often asked for, and one or more of each of timm's families; a test checks the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIMITS = Path(__file__).with_name("limits.csv")

FAMILIES = (
    *("beit_base_patch16_224", "beitv2_base_patch16_224", "botnet26t_256", "caformer_s18"),
    *("cait_xxs24_224", "coat_lite_tiny", "coatnet_0_rw_224", "convit_tiny", "convmixer_768_32"),
    *("convnext_atto", "convnextv2_atto", "crossvit_tiny_240", "cspresnext50", "davit_tiny"),
    *("deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "dla34", "dpn68"),
    *("edgenext_xx_small", "efficientformer_l1", "efficientformerv2_s0", "efficientvit_b0"),
    *("efficientvit_m0", "ese_vovnet19b_dw", "eva02_tiny_patch14_224"),
    *("eva02_base_patch16_clip_224", "fasternet_t0", "fastvit_t8", "focalnet_tiny_srf"),
    *("gcvit_xxtiny", "gernet_s", "ghostnet_100", "hgnet_tiny", "hiera_tiny_224"),
    *("hrnet_w18_small", "inception_next_atto", "inception_resnet_v2", "levit_128s"),
    *("mambaout_femto", "maxxvit_rmlp_nano_rw_256", "mixer_s16_224", "mobilenetv4_conv_small"),
    *("mobilevit_xxs", "mvitv2_tiny", "naflexvit_base_patch16_gap", "nest_tiny", "nextvit_small"),
    *("nf_resnet50", "pit_ti_224", "poolformer_s12", "pvt_v2_b0", "rdnet_tiny", "regnety_002"),
    *("repghostnet_050", "repvgg_a0", "repvit_m0_9", "res2net50d", "resmlp_12_224", "resnest14d"),
    *("resnet50_clip", "resnetv2_50d", "rexnet_100", "sam2_hiera_tiny", "samvit_base_patch16"),
    *("selecsls42", "sequencer2d_s", "shvit_s1", "skresnet18", "starnet_s050", "swiftformer_xs"),
    *("swinv2_cr_tiny_224", "tiny_vit_5m_224", "tnt_s_patch16_224", "tresnet_m"),
    *("twins_svt_small", "vgg11", "visformer_tiny", "vit_base_patch16_clip_224"),
    *("vit_base_patch16_siglip_224", "vit_relpos_small_patch16_224", "vit_small_patch14_dinov2"),
    *("vit_small_patch16_dinov3", "vit_small_patch32_224", "vit_small_patch8_224"),
    *("vit_small_r26_s32_224", "vitamin_small_224", "volo_d1_224", "xception41"),
    *("xcit_nano_12_p16_224", "xcit_tiny_12_p8_224"),
)
"""Networks of timm's families whose limits are known."""


@dataclass(frozen=True)
class Limits:
    """How a network can be used, and the error messages of what it cannot be used for.

    Attributes:
        pyramid: Why it cannot be the backbone of a detector or a segmenter; empty if it can.
        stride_8: How it serves a segmenter of output stride 8: ``"dilated"``, ``"pyramid"`` for
            ViTDet's pyramid, or ``"resized"``; empty if it cannot.
        roi_head: Why its last stage cannot be the head of a C4 detector; empty if it can, or if
            ``pyramid`` says why.
    """

    pyramid: str
    stride_8: str
    roi_head: str


def limits_of(architecture: str) -> Limits | None:
    """The known limits of a network; None if it has to be built to find them."""
    return known_limits().get(architecture)


@cache
def known_limits() -> dict[str, Limits]:
    """The table, by network."""
    with LIMITS.open(encoding="utf-8", newline="") as file:
        return {row.pop("architecture"): Limits(**row) for row in csv.DictReader(file)}
