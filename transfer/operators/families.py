"""The operators that are provided, and the package that computes each."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Operators that belong together.

    Attributes:
        title: Name in messages.
        package: The package that computes them: ``"torchvision"`` or ``"torch"``.
        module: Module of :mod:`transfer.operators` that has them.
        operators: Their names in ``mmcv._ext``.
    """

    title: str
    package: str
    module: str
    operators: tuple[str, ...]


def _both_ways(name: str) -> tuple[str, str]:
    return f"{name}_forward", f"{name}_backward"


FAMILIES = (
    Family("NMS", "torchvision", "suppression", ("nms",)),
    Family("RoIAlign", "torchvision", "roi_pooling", _both_ways("roi_align")),
    Family("RoIPool", "torchvision", "roi_pooling", _both_ways("roi_pool")),
    Family(
        "deformable convolution",
        "torchvision",
        "deformable_convolution",
        (
            *("deform_conv_forward", "deform_conv_backward_input"),
            "deform_conv_backward_parameters",
            *_both_ways("modulated_deform_conv"),
        ),
    ),
    Family(
        "focal losses",
        "torch",
        "focal_losses",
        (*_both_ways("sigmoid_focal_loss"), *_both_ways("softmax_focal_loss")),
    ),
    Family("deformable attention", "torch", "deformable_attention", _both_ways("ms_deform_attn")),
    Family("soft-NMS", "torch", "suppression", ("softnms",)),
    Family("NMS matching", "torch", "suppression", ("nms_match",)),
    Family(
        "masked convolution",
        "torch",
        "masked_convolution",
        ("masked_im2col_forward", "masked_col2im_forward"),
    ),
    Family("CARAFE", "torch", "carafe", _both_ways("carafe")),
    Family(
        "deformable RoI pooling", "torch", "deformable_roi_pooling", _both_ways("deform_roi_pool")
    ),
    Family("attention masks of PSANet", "torch", "attention_masks", _both_ways("psamask")),
)


def provided() -> str:
    """All families by package, as a phrase: ``"NMS, RoIAlign by torchvision; … by torch"``."""
    titles: dict[str, list[str]] = {}
    for family in FAMILIES:
        titles.setdefault(family.package, []).append(family.title)
    return "; ".join(f"{', '.join(own)} by {package}" for package, own in titles.items())
