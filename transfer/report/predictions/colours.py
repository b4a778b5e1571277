"""Colours of classes; the colour-blind can distinguish those of frequent classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from transfer.report.predictions.side_by_side import Comparison

Colour = tuple[int, int, int]

INK: Colour = (20, 20, 20)
PAPER: Colour = (255, 255, 255)
BACKGROUND: Colour = (225, 225, 225)

# Okabe and Ito's seven, then darker ones of Paul Tol's scheme "muted".
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (136, 34, 85),
    (51, 34, 136),
    (17, 119, 51),
    (221, 204, 119),
    (170, 68, 153),
)


def choose_colours(comparisons: Iterable[Comparison], classes: Sequence[str]) -> dict[int, Colour]:
    """A colour for each drawn label, the same in all pictures.

    The most frequent classes get the first colours. If there are more classes than colours, the
    rare ones share colours and are distinguished by the names on the picture.
    """
    counts = Counter(label for comparison in comparisons for label in comparison.labels())
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    things = [label for label in ranked if classes[label] != "background"]
    colours = {label: PALETTE[rank % len(PALETTE)] for rank, label in enumerate(things)}
    return {label: colours.get(label, BACKGROUND) for label in ranked}


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is legible on a colour (luma of Rec. 601)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return INK if luma > 110 else PAPER
