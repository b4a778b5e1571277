"""What the sample shows; kept apart from the drawing so that the names cost nothing to import."""

CLASSES: tuple[str, ...] = (
    "beetle",
    "bird",
    "fish",
    "flower",
    "house",
    "mug",
)
"""Objects: the classes of ``ImageFolder``, of the boxes, and the first ones of the masks."""

STUFF: tuple[str, ...] = ("brick", "grass", "sky", "water")
"""Background materials, which only the masks name."""

SEGMENTATION_CLASSES: tuple[str, ...] = CLASSES + STUFF
"""Classes of the masks: the class at index ``i`` has the value ``i + 1``; 0 is unlabelled."""
