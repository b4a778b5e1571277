"""A picture: ground truth on the left, predictions to the right of it, legend below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from backbones.common.errors import UserError
from backbones.common.image_file import read_image
from transfer.report.predictions.boxes import boxes_on
from transfer.report.predictions.colours import INK, PAPER, Colour, choose_colours
from transfer.report.predictions.lettering import TEXT, font, legible
from transfer.report.predictions.masks import mask_on
from transfer.report.predictions.side_by_side import Boxes, Comparison, Mask

_LONG_SIDE = 640  # longest side of an image on the sheet, in pixels
_MARGIN = 12
_LINE = TEXT + 8
_LONGEST_NAME = 60  # characters; of up to 4 bytes each in the name of a file


def write_sheets(
    comparisons: Sequence[Comparison], classes: Sequence[str], folder: Path
) -> list[Path]:
    """Draw each comparison as a PNG; a class has the same colour in all.

    Returns:
        The files of the pictures.

    Raises:
        UserError: An image is missing, or the folder is not writable.
    """
    classes = [legible(name) for name in classes]
    colours = choose_colours(comparisons, classes)
    paths = []
    for number, comparison in enumerate(comparisons, start=1):
        # of images of several folders, where a bare name does not tell which
        name = comparison.name if "/" in comparison.name else comparison.path.stem
        path = folder / f"{number:03}_{name.replace('/', '_')[:_LONGEST_NAME]}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sheet(comparison, classes, colours).save(path)
        except OSError as error:
            raise UserError(
                f"The picture '{path}' could not be written ({error}); choose another folder with "
                "--out."
            ) from error
        paths.append(path)
    return paths


def sheet(
    comparison: Comparison, classes: Sequence[str], colours: Mapping[int, Colour]
) -> Image.Image:
    """One picture; ``colours`` has every label that is drawn."""
    image = ImageOps.exif_transpose(read_image(comparison.path)).convert("RGB")
    scale = _LONG_SIDE / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    large = image.resize(size, Image.Resampling.LANCZOS)
    panels = [
        boxes_on(large, boxes=side, scale=scale, classes=classes, colours=colours)
        if isinstance(side, Boxes)
        else mask_on(large, side, classes, colours)
        for _, side in comparison.sides()
    ]
    width = len(panels) * (size[0] + _MARGIN) - _MARGIN
    legend = _legend(
        [
            (classes[label], colours[label])
            for label in colours
            if label in set(comparison.labels())
        ],
        width,
    )
    top = _MARGIN + 2 * _LINE
    page = Image.new(
        "RGB", (width + 2 * _MARGIN, top + size[1] + 2 * _MARGIN + legend.height), PAPER
    )
    pen = ImageDraw.Draw(page)
    name = legible(comparison.name or comparison.path.name)
    pen.text((_MARGIN, _MARGIN), name, INK, font(name))
    for number, (heading, side) in enumerate(comparison.sides()):
        title = legible(_title(heading, side))
        left = _MARGIN + number * (size[0] + _MARGIN)
        pen.text((left, _MARGIN + _LINE), title, INK, font(title))
        page.paste(panels[number], (left, top))
    page.paste(legend, (_MARGIN, top + size[1] + _MARGIN))
    return page


def _title(heading: str, side: Boxes | Mask) -> str:
    """The words above a panel."""
    if not isinstance(side, Boxes) or side.scores is None:
        return heading
    shown = f"score of at least {side.least_score:g}"
    return f"{heading}, {shown}" if side.shown() else f"{heading}: nothing with a {shown}"


def _legend(entries: Sequence[tuple[str, Colour]], width: int) -> Image.Image:
    """Draw swatches with names, on as many lines as needed."""
    places, left, top = [], 0, 0
    for name, _ in entries:
        needed = TEXT + 6 + round(font(name).getlength(name)) + 2 * _MARGIN
        if left and left + needed > width:
            left, top = 0, top + _LINE
        places.append((left, top))
        left += needed
    legend = Image.new("RGB", (width, top + _LINE), PAPER)
    pen = ImageDraw.Draw(legend)
    for (name, colour), (left, top) in zip(entries, places, strict=True):
        pen.rectangle((left, top, left + TEXT, top + TEXT), fill=colour, outline=INK)
        pen.text((left + TEXT + 6, top - 2), name, INK, font(name))
    return legend
