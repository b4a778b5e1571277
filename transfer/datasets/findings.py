"""What a check can find, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: What is wrong, as a heading.
        advice: What to do about it.
        is_fault: Whether training on it goes wrong; otherwise it is only worth knowing.
    """

    title: str
    advice: str
    is_fault: bool = True


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: A key of :data:`KINDS`.
        path: The file that it is about.
        detail: What is wrong with it.
        image: The image that has to be left out if it cannot be mended; None where leaving out
            an image mends nothing.
    """

    kind: str
    path: Path
    detail: str
    image: Path | None = None


SMALLEST_BOX = 32
"""Pixels; under protocol ``openmmlab`` narrower or lower boxes of VOC's layout are background."""

KINDS = {
    "list": Kind(
        "Lists that cannot be used",
        "Restore the list or the folder's *.jpg, or correct the splits in the data set's file.",
    ),
    "count": Kind(
        "Splits with another number of images than the original",
        "Figures would not compare with published ones; unpack the original again.",
    ),
    "twice": Kind("Images listed twice", "Take the second line out of the list."),
    "image": Kind("Images that cannot be read", "Fetch them again, or leave them out."),
    "annotation": Kind(
        "Annotations that cannot be read", "Fetch or mend them, or leave their images out."
    ),
    "class": Kind(
        "Objects of classes that are not listed",
        "Add the class to 'classes' in the data set's file, or correct the name.",
    ),
    "size": Kind(
        "Annotations for an image of another size",
        "The boxes may belong to another version of the image; make both match.",
    ),
    "box": Kind(
        "Boxes that are empty or reach beyond their image",
        "Correct the box. VOC counts pixels from 1, and both ends belong to the box.",
    ),
    "mask": Kind("Masks that cannot be read", "Fetch or mend them, or leave their images out."),
    "mask size": Kind(
        "Masks of another size than their image", "Make both match, or leave the images out."
    ),
    "mask value": Kind(
        "Masks with values that stand for no class",
        "Correct the mask, or 'classes', 'ignore_index' and 'zero_is_ignored' in the data set's "
        "file.",
    ),
    "leak": Kind(
        "Images that are both trained and tested on",
        "Leave them out of training; a test on them measures memory.",
    ),
    "alike": Kind(
        "Training images that look like a test image",
        "They may be copies at another size or quality; look at them.",
        is_fault=False,
    ),
    "colour": Kind(
        "Images that are not RGB",
        "Nothing to do: the toolboxes convert them as they load.",
        is_fault=False,
    ),
    "turned": Kind(
        "Images that their EXIF data turn or mirror",
        "The toolboxes load them upright; make sure that boxes and masks were drawn so.",
        is_fault=False,
    ),
    "small": Kind(
        "Boxes that are background to protocol 'openmmlab'",
        f"It trains on none under {SMALLEST_BOX} pixels: enlarge the images with their boxes, or "
        "take another protocol.",
        is_fault=False,
    ),
    "no area": Kind(
        "COCO boxes without an area, or under a pixel",
        "Training passes them over, a test counts them; give them their 'area' if that is wrong.",
        is_fault=False,
    ),
    "ending": Kind(
        "Images that are left out for their ending",
        "Only *.jpg are taken; save or link them as such if they are meant.",
        is_fault=False,
    ),
}
