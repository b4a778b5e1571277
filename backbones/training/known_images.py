"""Names of the data sets that classifiers were trained on."""

from __future__ import annotations

from typing import Any

IMAGENET, PLACES = "ImageNet", "Places365"

_WELL_KNOWN = {(1000, 1_281_167, 50_000): IMAGENET, (365, 1_803_460, 36_500): PLACES}
"""By numbers of classes, training images and validation images; folder names vary."""


def name_of_images(record: dict[str, Any]) -> str:
    """The name of a training's data set, by its record.

    Raises:
        KeyError: The record is incomplete.
    """
    images = record["data"]["images"]
    counts = (len(record["classes"]), images["train"], images["val"])
    return _WELL_KNOWN.get(counts, record["data"]["name"])


def recorded_name_of_images(own: dict[str, Any]) -> str:
    """The same by a weights file's metadata; if they are incomplete, the folder's name."""
    try:
        return name_of_images(own)
    except (KeyError, TypeError):
        return own.get("data", {}).get("name", "")
