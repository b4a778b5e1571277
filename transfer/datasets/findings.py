"""The kinds of findings of a check, with advice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: The problem, as a heading.
        advice: How to fix it.
        is_fault: Whether it harms a training; otherwise it is only a note.
    """

    title: str
    advice: str
    is_fault: bool = True


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        kind: A key of :data:`KINDS`.
        path: The file concerned.
        detail: The problem.
        image: The image to exclude if it cannot be fixed; None if excluding an image
            does not help.
    """

    kind: str
    path: Path
    detail: str
    image: Path | None = None


SMALLEST_BOX = 32
"""Pixels; protocol ``openmmlab`` treats smaller boxes in VOC's layout as background."""

LONGEST = 300
"""Largest ratio of an image's sides: a protocol would resize a longer image to less than one pixel
of width."""

KINDS = {
    "list": Kind(
        "Unusable lists",
        "Restore the list or the folder, or correct the split in the data set's file: paths are "
        "relative to its 'root'.",
    ),
    "near": Kind(
        "Names in lists that differ from the files' names",
        "Correct the list or rename the files: a line of a list is a file's name in the folder, "
        "without extension or further columns; a file_name of COCO has '/' and the extension, "
        "and is relative to the split's folder. If the data set's file has 'suffix' or "
        "'mask_suffix', files end in it: correct it, or make the files as the comments at the top "
        "of a known data set's file say.",
    ),
    "coco": Kind(
        "Unusable entries of COCO files",
        "Correct the file, or export it again from its source.",
    ),
    "nothing": Kind(
        "Training images without anything to learn",
        "Correct the annotations, or the training split in the data set's file.",
    ),
    "one class": Kind(
        "Masks with a single class",
        "Every model would get the same figure: correct the masks, or 'classes', "
        "'ignore_index' and 'zero_is_ignored' in the data set's file.",
    ),
    "no figure": Kind(
        "Test images without any class of the headline",
        "There would be no figure: correct 'test' or 'headline_classes' in the data set's file.",
    ),
    "count": Kind(
        "Splits with a different number of images than the original",
        "Figures would not be comparable with published ones; unpack the original again.",
    ),
    "twice": Kind(
        "Images listed twice",
        "Remove the second from the list; in a COCO file, merge both entries.",
    ),
    "image": Kind("Unreadable images", "Download them again, or exclude them."),
    "long": Kind(
        f"Images over {LONGEST} times as long as they are wide",
        "A network would get them less than one pixel wide: cut them into pieces, or exclude them.",
    ),
    "dark": Kind(
        "16-bit images that are nearly black when loaded",
        "The toolboxes keep the upper 8 bits of 16: rescale the images to 8 bits.",
    ),
    "annotation": Kind("Unreadable annotations", "Download or fix them, or exclude their images."),
    "class": Kind(
        "Objects of classes that are not listed",
        "Add the class to 'classes' in the data set's file, or correct the name.",
    ),
    "size": Kind(
        "Annotations for another image size",
        "The boxes may belong to another version of the image; make them match.",
    ),
    "box": Kind(
        "Boxes that are empty or extend beyond their image",
        "Correct the box. VOC's boxes are xmin ymin xmax ymax: pixels count from 1, and both ends "
        "are inside. COCO's are x y width height, from 0.",
    ),
    "mask": Kind("Unusable masks", "Download or fix them, or exclude their images."),
    "mask size": Kind(
        "Masks with another size than their image", "Make them match, or exclude the images."
    ),
    "mask value": Kind(
        "Masks with values that are not a class",
        "Correct the mask, or 'classes', 'ignore_index' and 'zero_is_ignored' in the data set's "
        "file.",
    ),
    "leak": Kind(
        "Images in both training and test sets",
        "Exclude them from training; testing on them measures memory.",
    ),
    "nowhere": Kind(
        "Classes that occur nowhere",
        "Correct 'classes' or the annotations if they should: labels may be off by one, or a class "
        "may have another number or name.",
        is_fault=False,
    ),
    "alike": Kind(
        "Training images that look like a test image",
        "They may be copies with another size or quality; check them.",
        is_fault=False,
    ),
    "deep": Kind(
        "16-bit images",
        "The toolboxes keep the upper 8 bits; rescale the images to 8 bits if that is too dark.",
        is_fault=False,
    ),
    "colour": Kind(
        "Images that are not RGB",
        "Nothing to do: the toolboxes convert them when loading, and drop transparency.",
        is_fault=False,
    ),
    "frames": Kind("Images with more than one picture", "The first is used.", is_fault=False),
    "turned": Kind(
        "Images with an EXIF rotation or mirroring",
        "The toolboxes load them upright; make sure that boxes and masks fit that.",
        is_fault=False,
    ),
    "not turned": Kind(
        "Images whose EXIF rotation or mirroring is not applied",
        "The installed OpenCV ignores it for images of this format: save them upright if boxes and "
        "masks were drawn on the upright image.",
        is_fault=False,
    ),
    "small": Kind(
        "Boxes that protocol 'openmmlab' treats as background",
        f"It ignores boxes under {SMALLEST_BOX} pixels: enlarge the images with their boxes, or "
        "choose another protocol.",
        is_fault=False,
    ),
    "passed over": Kind(
        "Training images that protocols skip",
        "Nothing to do, if that is intended.",
        is_fault=False,
    ),
    "thin": Kind(
        "Boxes of VOC's layout with a width or height of one pixel",
        "Training skips them, the test counts them; correct them if they are larger.",
        is_fault=False,
    ),
    "no area": Kind(
        "COCO boxes that training skips: without an area, under a pixel, or marked 'ignore'",
        "The test counts them; correct their 'area' if it is wrong.",
        is_fault=False,
    ),
    "orphan": Kind(
        "Annotations of images that the COCO file does not list",
        "They are ignored.",
        is_fault=False,
    ),
    "excluded": Kind(
        "Images under 'exclude' that are in no list",
        "They exclude nothing; correct them if they should.",
        is_fault=False,
    ),
}
