"""The style of every picture: colours for the colour-blind, and ink that follows the page.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), without the yellow, which
is too pale for print. Lines differ in markers and dashes too, not in colour alone.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones.common.atomic_write import write_atomically
from backbones.common.escape import html, terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1a1a1b"
"""Colour of text and axes; becomes the page's text colour in an SVG within a page."""
PAPER = "#d55e00"
OURS = "#0072b2"
GAIN = "#00684a"
"""Colour of a gain; becomes the page's own, as do the next two."""
LOSS = "#a33c00"
GREY = "#55595f"
COLOURS = (OURS, PAPER, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKERS = "osD^vP*"

_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "white",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "transfer-bench",
    "path.simplify": True,
    "text.parse_math": False,  # a dollar in a name is not a formula
}


_SMALL = 8.0
"""Smallest size of a title on one line, and largest of one on two lines."""


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Room around the axes, and between them, in inches.

    They are explicit, since matplotlib's automatic layouts draw every picture twice.
    """

    left: float = 0.7
    right: float = 0.15
    bottom: float = 0.55
    top: float = 0.35
    between: float = 0.5
    above: float = 0.45


def text_width(texts: Iterable[str], size: float = 9) -> float:
    """A safe estimate of the width of the longest text, in inches."""
    return max((len(text) for text in texts), default=0) * size * 0.62 / 72


@contextmanager
def canvas(
    width: float,
    height: float,
    *,
    margins: Margins,
    panels: int = 1,
    across: int = 2,
    shared: bool = False,
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Make an empty picture in this project's style.

    Args:
        width: In inches.
        height: Likewise.
        margins: Room for titles and labels.
        panels: Number of axes.
        across: Number of axes side by side.
        shared: Whether all axes share a scale.

    Yields:
        The figure and its axes; places without a panel stay empty. Neither a window system nor
        pyplot's global state is used.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(panels, across)
    lines = math.ceil(panels / columns)
    inner = (width - margins.left - margins.right - (columns - 1) * margins.between) / columns
    high = (height - margins.bottom - margins.top - (lines - 1) * margins.above) / lines
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        grid = figure.subplots(lines, columns, squeeze=False, sharex=shared, sharey=shared)
        figure.subplots_adjust(
            left=margins.left / width,
            right=1 - margins.right / width,
            bottom=margins.bottom / height,
            top=1 - margins.top / height,
            wspace=margins.between / inner,
            hspace=margins.above / high,
        )
        for empty in grid.flat[panels:]:
            empty.set_axis_off()
        yield figure, list(grid.flat[:panels])


def title(figure: Figure, text: str) -> None:
    """Write a title at the left edge, shrunk to fit, on at most two lines."""
    width, height = figure.get_size_inches()
    lines, largest = [text], 10.0
    parts = text.split(", ")
    if _fitting(lines, width) < _SMALL and len(parts) > 1:
        halves = [(", ".join(parts[:n]) + ",", ", ".join(parts[n:])) for n in range(1, len(parts))]
        lines, largest = list(min(halves, key=text_width)), _SMALL
    figure.suptitle(
        "\n".join(lines),
        x=0.1 / width,
        y=1 - 0.05 / height,
        ha="left",
        va="top",
        fontsize=min(largest, _fitting(lines, width)),
        linespacing=1.1,
    )


def _fitting(lines: Sequence[str], width: float) -> float:
    """The font size at which lines fill a picture of the given width in inches."""
    return 10.0 * (width - 0.2) / text_width(lines, 10.0)


def svg(figure: Figure) -> bytes:
    """The picture as SVG: identical bytes for identical figures, without a date."""
    drawn = _drawn(figure, format="svg", metadata={"Date": None, "Creator": None})
    return terminal(drawn.decode()).encode()  # XML allows no control characters


def png(figure: Figure) -> bytes:
    """The picture as PNG at 200 dots per inch, for print."""
    return _drawn(figure, format="png", dpi=200, metadata={"Software": None})


def _drawn(figure: Figure, **options: Any) -> bytes:
    import matplotlib as mpl

    out = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(out, **options)
    return out.getvalue()


def save(stem: Path, ending: str, drawn: bytes, option: str = "--results") -> Path:
    """Write a picture's file and return its path; errors name ``option`` for another folder.

    Raises:
        UserError: The folder is not writable.
    """
    path = stem.with_name(stem.name + ending)
    write_atomically(path, drawn, option)
    return path


def inline(drawn: bytes, prefix: str, described: str) -> str:
    """Prepare an SVG for a page: the page's text colour, no background, unique ids.

    Args:
        drawn: The output of :func:`svg`.
        prefix: Prefix of every id in it.
        described: Description of the picture for screen readers.
    """
    text = drawn.decode()
    text = text[text.index("<svg") :]
    text = text.replace(INK, "currentColor").replace("fill: #ffffff", "fill: none")
    for place, colour in enumerate(COLOURS):  # page.css has brighter ones for dark mode
        text = text.replace(colour, f"var(--row-{place})")
    for name, colour in (("gain", GAIN), ("loss", LOSS), ("soft", GREY)):
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would apply to the whole page
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', "", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{html(described)}" ', 1)
