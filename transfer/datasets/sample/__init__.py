"""The built-in sample: a small task in three layouts, drawn from a seed.

Textured figures of six classes on cluttered, unevenly lit backgrounds, as single objects
(``ImageFolder``), as scenes with boxes (Pascal VOC 2007 and 2012) and as scenes with masks
(ADE20K), all by the same renderer.
"""

from transfer.datasets.sample.classes import CLASSES, SEGMENTATION_CLASSES, STUFF
from transfer.datasets.sample.writer import SIZES, VERSION, Sizes, draw_sample, ensure_sample

__all__ = [
    "CLASSES",
    "SEGMENTATION_CLASSES",
    "SIZES",
    "STUFF",
    "VERSION",
    "Sizes",
    "draw_sample",
    "ensure_sample",
]
