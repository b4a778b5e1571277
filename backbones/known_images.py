"""What the images are called that a classifier was trained on."""

from __future__ import annotations

from typing import Any

IMAGENET, PLACES = "ImageNet", "Places365"

_WELL_KNOWN: dict[tuple[Any, ...], str] = {
    (1000, 1_281_167, 50_000): IMAGENET,
    (365, 1_803_460, 36_500): PLACES,
}
"""By classes, and training and validation images: a folder may have any name."""


def name_of_images(told: dict[str, Any]) -> str:
    """The name of a training's images, by what the training told of itself.

    Args:
        told: Its record, or what its file of weights says; what is missing there is not known.
    """
    data = told.get("data", {})
    images = data.get("images")
    if not isinstance(images, dict) or not isinstance(told.get("classes"), list):
        return data.get("name", "")
    counts = (len(told["classes"]), images.get("train"), images.get("val"))
    return _WELL_KNOWN.get(counts, data.get("name", ""))
