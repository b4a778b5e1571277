"""What the images are called that a classifier was trained on."""

from __future__ import annotations

from typing import Any

IMAGENET, PLACES = "ImageNet", "Places365"

_WELL_KNOWN = {(1000, 1_281_167, 50_000): IMAGENET, (365, 1_803_460, 36_500): PLACES}
"""By classes, and training and validation images: a folder may have any name."""


def name_of_images(told: dict[str, Any]) -> str:
    """The name of a training's images, by what its record tells.

    Raises:
        KeyError: The record lacks something.
    """
    images = told["data"]["images"]
    counts = (len(told["classes"]), images["train"], images["val"])
    return _WELL_KNOWN.get(counts, told["data"]["name"])


def told_name_of_images(own: dict[str, Any]) -> str:
    """The same by what a file of weights says of itself; where it says less, the folder's name."""
    try:
        return name_of_images(own)
    except (KeyError, TypeError):
        return own.get("data", {}).get("name", "")
