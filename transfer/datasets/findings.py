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

LONGEST = 300
"""Times that an image may be as long as it is wide: resized by a protocol, a longer one would be
under a pixel wide."""

KINDS = {
    "list": Kind(
        "Lists that cannot be used",
        "Restore the list or the folder, or correct the split in the data set's file: paths start "
        "from its 'root'.",
    ),
    "near": Kind(
        "Names in lists that are not those of the files",
        "Correct the list or rename the files: a line of a list is a name as it is written in the "
        "folder, without ending or further columns; a file_name of COCO is one with '/' and its "
        "ending, as seen from the split's folder.",
    ),
    "coco": Kind(
        "Entries of COCO files that cannot be used",
        "Correct the file, or write it again from its source.",
    ),
    "nothing": Kind(
        "Training images with nothing to train on",
        "Correct the annotations, or the training split in the data set's file.",
    ),
    "one class": Kind(
        "Masks of one class alone",
        "Whatever is learnt, the figure is the same: correct the masks, or 'classes', "
        "'ignore_index' and 'zero_is_ignored' in the data set's file.",
    ),
    "no figure": Kind(
        "Test images without a class of the headline",
        "There would be no figure: correct 'test' or 'headline_classes' in the data set's file.",
    ),
    "count": Kind(
        "Splits with another number of images than the original",
        "Figures would not compare with published ones; unpack the original again.",
    ),
    "twice": Kind(
        "Images listed twice", "Take the second out of the list; in a COCO file, join both entries."
    ),
    "image": Kind("Images that cannot be read", "Fetch them again, or leave them out."),
    "long": Kind(
        f"Images over {LONGEST} times as long as they are wide",
        "Resized for a network they would be under a pixel wide: cut them in pieces, or leave "
        "them out.",
    ),
    "dark": Kind(
        "Images of 16 bits that are nearly black as they are loaded",
        "The toolboxes keep the upper 8 bits of 16: rescale the images to 8 bits.",
    ),
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
        "Correct the box. VOC's are xmin ymin xmax ymax: pixels count from 1, and both ends belong "
        "to the box. COCO's are x y width height, from 0.",
    ),
    "mask": Kind("Masks that cannot be used", "Fetch or mend them, or leave their images out."),
    "mask size": Kind(
        "Masks of another size than their image", "Make both match, or leave the images out."
    ),
    "mask value": Kind(
        "Masks with values that are no class",
        "Correct the mask, or 'classes', 'ignore_index' and 'zero_is_ignored' in the data set's "
        "file.",
    ),
    "leak": Kind(
        "Images that are both trained and tested on",
        "Leave them out of training; a test on them measures memory.",
    ),
    "nowhere": Kind(
        "Classes that occur nowhere",
        "Correct 'classes' or the annotations if they should: labels may be one off, or a class "
        "may have another number or name.",
        is_fault=False,
    ),
    "alike": Kind(
        "Training images that look like a test image",
        "They may be copies at another size or quality; look at them.",
        is_fault=False,
    ),
    "deep": Kind(
        "Images of 16 bits",
        "The toolboxes keep the upper 8 bits; rescale the images to 8 bits if that is too dark.",
        is_fault=False,
    ),
    "colour": Kind(
        "Images that are not RGB",
        "Nothing to do: the toolboxes convert them as they load, and drop transparency.",
        is_fault=False,
    ),
    "frames": Kind("Images of more than one picture", "The first is taken.", is_fault=False),
    "turned": Kind(
        "Images that their EXIF data turn or mirror",
        "The toolboxes load them upright; make sure that boxes and masks were drawn so.",
        is_fault=False,
    ),
    "not turned": Kind(
        "Images that are loaded as stored, not as their EXIF data turn or mirror them",
        "The installed OpenCV does not turn images of this format: save them upright if boxes and "
        "masks were drawn so.",
        is_fault=False,
    ),
    "small": Kind(
        "Boxes that are background to protocol 'openmmlab'",
        f"It trains on none under {SMALLEST_BOX} pixels: enlarge the images with their boxes, or "
        "take another protocol.",
        is_fault=False,
    ),
    "passed over": Kind(
        "Training images that protocols pass over",
        "Nothing to do, if that is meant.",
        is_fault=False,
    ),
    "thin": Kind(
        "Boxes of VOC's layout that are one pixel wide or high",
        "Training passes them over, a test counts them; correct them if they are larger.",
        is_fault=False,
    ),
    "no area": Kind(
        "COCO boxes that training passes over: without an area, under a pixel, or marked 'ignore'",
        "A test counts them; give them their 'area' if that is wrong.",
        is_fault=False,
    ),
    "orphan": Kind(
        "Annotations of images that a COCO file does not list",
        "They are passed over.",
        is_fault=False,
    ),
    "excluded": Kind(
        "Images under 'exclude' that no list names",
        "They leave nothing out: correct them if they should.",
        is_fault=False,
    ),
}
