"""Mean ranks over data sets, with the critical difference around the baseline (Demsar 2006)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer.report.across_data import AcrossData
from transfer.report.pictures.style import INK, OURS, PAPER, Margins, canvas, text_width, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(found: AcrossData) -> Figure:
    """One line for each row, the best at the top."""
    means = sorted(zip(found.ranks.mean, found.rows, strict=True))
    count = len(means)
    margins = Margins(left=0.2 + text_width(found.rows), bottom=0.6)
    high = margins.top + margins.bottom + 0.3 * count + 0.1
    with canvas(max(7.0, margins.left + 4.0), high, margins=margins) as (figure, (axes,)):
        reach, base = found.ranks.critical, found.ranks.mean[0]
        if reach:
            axes.axvspan(base - reach, base + reach, color=PAPER, alpha=0.15, lw=0)
        axes.axvline(base, color=INK, linewidth=0.8)
        for place, (mean, name) in enumerate(means):
            filled = PAPER if name == found.rows[0] else OURS
            axes.plot(mean, place, "D" if name == found.rows[0] else "o", color=filled, ms=7)
        axes.set_xlim(0.8, count + 0.2)
        axes.set_xticks(range(1, count + 1))
        axes.set_yticks(range(count), [name for _, name in means])
        axes.set_ylim(count - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#8a8a8a", alpha=0.25)
        axes.set_xlabel(f"mean rank over {len(found.tables)} data sets; 1 is the best")
        title(figure, found.title)
        return figure
