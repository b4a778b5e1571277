"""What the sample shows; kept apart from the drawing so that the names cost nothing to import."""

CLASSES: tuple[str, ...] = (
    "beetle",
    "bird",
    "fish",
    "flower",
    "house",
    "mug",
)
"""Objects: the classes of the boxes, and the first ones of ``ImageFolder`` and the masks."""

STUFF: tuple[str, ...] = ("brick", "grass", "sky", "water")
"""Background materials, the last classes of ``ImageFolder`` and of the masks."""

SEGMENTATION_CLASSES: tuple[str, ...] = CLASSES + STUFF
"""Classes of ``ImageFolder`` and of the masks.

In a mask, the class at index ``i`` has the value ``i + 1``; 0 is unlabelled.
"""
