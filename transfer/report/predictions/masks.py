"""Colour masks on an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps
from scipy import ndimage

from transfer.report.predictions.colours import PAPER, Colour
from transfer.report.predictions.lettering import font
from transfer.report.predictions.side_by_side import IGNORED, Mask
from transfer.report.predictions.tags import TAG_HEIGHT, Tags

_SHARE = 0.62  # of the colour over the grey image
_LARGE = 0.02  # smallest share of the image for a region's name
_STRIPES = 12  # pixels between stripes over ignored regions


def mask_on(
    image: Image.Image, mask: Mask, classes: Sequence[str], colours: Mapping[int, Colour]
) -> Image.Image:
    """A grey image under the colours and names of its classes; ignored regions are hatched.

    Args:
        image: The enlarged image.
        mask: (height, width) labels of the original image.
        classes: Names by label.
        colours: By label.
    """
    small = Image.fromarray(mask.astype(np.uint8))
    labels = np.asarray(small.resize(image.size, Image.Resampling.NEAREST))
    grey = np.asarray(ImageOps.autocontrast(image.convert("L")).convert("RGB"), float)
    painted = grey.copy()
    there = [int(label) for label in np.unique(labels) if label != IGNORED]
    for label in there:
        here = labels == label
        painted[here] = (1 - _SHARE) * grey[here] + _SHARE * np.array(colours[label])
    rows, columns = np.nonzero(labels == IGNORED)
    striped = (rows + columns) % _STRIPES < 2
    painted[rows[striped], columns[striped]] = PAPER
    panel = Image.fromarray(painted.round().astype(np.uint8))
    tags = Tags(ImageDraw.Draw(panel), panel.size)
    for label in sorted(there, key=lambda label: -int((labels == label).sum())):
        here = labels == label
        if here.mean() >= _LARGE and classes[label] != "background":
            _name(tags, here, classes[label], colours[label])
    return panel


def _name(tags: Tags, here: npt.NDArray[np.bool_], name: str, colour: Colour) -> None:
    """Write a name where its region is widest, or slightly above or below."""
    depth = ndimage.distance_transform_edt(np.pad(here, 1))
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    left, top = x - 1 - font(name).getlength(name) / 2, y - 1 - TAG_HEIGHT / 2
    tags.write(name, colour, [(left, top + step * TAG_HEIGHT) for step in (0, 1, -1, 2, -2)])
